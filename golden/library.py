"""Networks by name: trained ones that are committed, seeded ones for the other presets."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.golden.data.images import digits, pattern
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.network_file import SUFFIX
from deltamoe.golden.importing.preprocessing import Preprocessing
from deltamoe.golden.importing.source import FORMAT, load, own_format
from deltamoe.golden.model import M3ViT, build
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import FORMAT as QUANTIZED
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded

WEIGHTS = Path(__file__).with_name("weights")
CALIBRATION_IMAGES = 2


class Network(NamedTuple):
    """A quantized network, the one it was made from, or both: what is at hand.

    ``preprocessing`` is how a picture becomes their pixels; without one it has their size. ``host``
    makes the user's outputs of their tokens; without one they are the outputs.
    """

    quantized: QuantizedModel | None
    real: M3ViT | None
    preprocessing: Preprocessing | None = None
    host: Host | None = None


def untrained(config: ModelConfig) -> Network:
    """Return seeded weights for any dimensions, quantized on test patterns."""
    real = build(config, seeded(config, 0))
    quantized = quantize(real, [pattern(config, seed) for seed in range(CALIBRATION_IMAGES)])
    return Network(quantized, real.float())


def is_own(path: Path) -> bool:
    """Whether a file is one of ours, in floating point or quantized."""
    return own_format(path) in {FORMAT, QUANTIZED}


def find(name: str) -> Network:
    """Return the preset ``name``, or the file of ours of that path, quantized or not.

    A preset without committed weights gets seeded ones, quantized on test patterns.

    Raises
    ------
    ValueError
        Neither a preset nor a file of ours.
    """
    if name in MODELS:
        config = MODELS[name]
        trained = WEIGHTS / f"{name}.safetensors"
        if trained.exists():
            return Network(QuantizedModel.load(WEIGHTS / f"{name}.quantized.safetensors"),
                           load(trained).model())
        return untrained(config)
    path = Path(name)
    if path.suffix == SUFFIX and path.exists():
        if own_format(path) == FORMAT:
            network = load(path)
            return Network(None, network.model(), network.preprocessing, network.host)
        quantized = QuantizedModel.load(path)
        return Network(quantized, None, quantized.preprocessing, quantized.host)
    raise ValueError(f"model {name!r} is neither a quantized .safetensors file nor one of "
                     f"{', '.join(MODELS)}")


def calibration_images(config: ModelConfig) -> list[Tensor]:
    """Return test images of which the default one is none."""
    if config.name == "digits":
        return list(digits("train")[0][:CALIBRATION_IMAGES])
    return [pattern(config, 1 + seed) for seed in range(CALIBRATION_IMAGES)]


def default_image(config: ModelConfig) -> Tensor:
    """Return a test image: a held-out digit for the digits network, else a pattern."""
    if config.name == "digits":
        return digits("test")[0][0]
    return pattern(config, 0)
