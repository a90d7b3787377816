"""Networks: presets, quantized files, and float weights quantized on images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.lookup import weights as weights_of
from deltamoe.terminal import Table

if TYPE_CHECKING:
    from deltamoe.golden.library import Network as Weights
    from deltamoe.golden.quantization.report import BlockNoise

__all__ = ["MODELS", "Network", "Quantization", "dimensions", "load", "quantize"]


def dimensions(config: ModelConfig) -> dict:
    """Return a network's size: tokens, widths, experts, and multiplications of an image."""
    return {"tokens": config.num_tokens, "embed_dim": config.embed_dim,
            "num_layers": config.num_layers, "num_heads": config.num_heads,
            "num_experts": config.num_experts, "top_k": config.top_k, "macs": config.macs}


@dataclass(frozen=True)
class Network(Result):
    """A network by name; a preset's weights are built when something asks for them.

    Attributes
    ----------
    name : str
        Preset, or the path of a quantized file.
    config : ModelConfig
        Its dimensions.
    built : deltamoe.golden.library.Network, optional
        Weights that are known already.
    """

    name: str
    config: ModelConfig
    built: "Weights | None" = None

    @cached_property
    def weights(self) -> "Weights":
        """Integer weights in ``quantized``, and float ones in ``real`` where there are any."""
        if self.built is not None:
            return self.built
        from deltamoe.golden.library import find

        return find(self.name)

    @property
    def preset(self) -> bool:
        """Whether its shapes and routing are committed, so that timing needs no weights."""
        return self.name in MODELS and self.built is None

    def check_task(self, task: int) -> None:
        """Raise ValueError unless the network has a task of this number."""
        if not 0 <= task < self.config.num_tasks:
            raise ValueError(f"task {task} is not in 0..{self.config.num_tasks - 1}")

    def figures(self) -> dict:
        return {"name": self.name, **dimensions(self.config), "weights": weights_of(self.name)}

    def table(self) -> Table:
        made = Table("", self.name)
        for name, value in self.figures().items():
            if name != "name":
                made.add_row(name, f"{value:,}" if isinstance(value, int) else value)
        return made


def load(name: str | Path | Network) -> Network:
    """Return a network by name.

    Parameters
    ----------
    name : str or Path
        A preset of :data:`MODELS`, or a quantized ``.safetensors`` file, which is read at once.

    Raises
    ------
    ValueError
        It is neither; names the presets. Or the file is no quantized network.
    """
    if isinstance(name, Network):
        return name
    if str(name) in MODELS:
        return Network(str(name), MODELS[str(name)])
    from deltamoe.golden.library import find

    found = find(str(name))
    return Network(str(name), found.quantized.config, found)


@dataclass(frozen=True)
class Quantization(Result):
    """Weights quantized on images, and what that costs.

    Attributes
    ----------
    model : str
        Preset that the weights belong to.
    network : Network
        The quantized network.
    images : int
        Images whose ranges were seen.
    noise : sequence of BlockNoise
        By block the signal-to-noise ratio against float in dB, of all up to it and of it alone.
    out : Path, optional
        File that holds the network.
    """

    model: str
    network: Network
    images: int
    noise: Sequence["BlockNoise"]
    out: Path | None = None

    @property
    def worst(self) -> "BlockNoise":
        """The block that loses most by itself."""
        return min(self.noise, key=lambda block: block.own)

    def figures(self) -> dict:
        return {"model": self.model, "out": None if self.out is None else str(self.out),
                "images": self.images, "loses_most": self.worst.layer,
                "blocks": [block._asdict() for block in self.noise]}

    def table(self) -> Group:
        made = Table("block", "SQNR of the residual, dB", "of this block alone, dB")
        for block in self.noise:
            made.add_row(str(block.layer), f"{block.total:.1f}", f"{block.own:.1f}")
        return Group(made, f"{self.network.name}: block {self.worst.layer} loses most "
                           f"({self.worst.own:.1f} dB)")


def quantize(model: str, weights: str | Path, images: str | Path, out: str | Path | None = None,
             *, progress: Progress = QUIET) -> Quantization:
    """Quantize weights to integers with the ranges seen on calibration images.

    Parameters
    ----------
    model : str
        Preset of :data:`MODELS` that the weights belong to.
    weights : str or Path
        Edge-MoE folder, training checkpoint or safetensors file of float weights.
    images : str or Path
        Folder of images of the network's size; what is transparent is black.
    out : str or Path, optional
        Quantized file to write.
    progress : Progress
        Is told of every image.

    Raises
    ------
    ValueError
        Names what is wrong: no such preset, no image of its size, weights of other shapes.
    OSError
        A file cannot be read or written.
    """
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}")
    config, folder = MODELS[model], Path(images)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    from deltamoe.golden.data.images import check_image, load_image
    from deltamoe.golden.data.picture import files_of
    from deltamoe.golden.library import Network as Weights
    from deltamoe.golden.model import build
    from deltamoe.golden.quantization.checkpoint import load as load_weights
    from deltamoe.golden.quantization.quantize import quantize as quantized_on
    from deltamoe.golden.quantization.report import block_noise

    paths = files_of(folder)
    for path in paths:
        check_image(path, config)
    real = build(config, load_weights(Path(weights), config))
    pixels = [load_image(path, config) for path in progress.each(paths, "reading images")]
    quantized = quantized_on(real, pixels)
    noise = block_noise(real.float(), quantized, pixels[0])
    if out is not None:
        quantized.save(Path(out))
    name = model if out is None else str(out)
    return Quantization(model, Network(name, config, Weights(quantized, real.float())),
                        len(paths), tuple(noise), None if out is None else Path(out))
