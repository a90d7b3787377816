"""A user's own network: files of other programs made ours, and quantized if there are images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from deltamoe.api.networks import Network, Quantization, dimensions, quantize
from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.terminal import Table

if TYPE_CHECKING:
    from deltamoe.golden.importing.options import Options
    from deltamoe.golden.importing.preprocessing import Preprocessing


@dataclass(frozen=True)
class Imported(Result):
    """A network of another program as one of ours.

    Attributes
    ----------
    network : Network
        In floating point, or quantized if there were images.
    family : str
        Whose file it came from.
    preprocessing : Preprocessing, optional
        How a picture becomes the network's pixels.
    notes : sequence of str
        What was taken off, folded or left out.
    nodes : sequence of (str, str, str)
        Operator, name and reason of every node on the host.
    share : float
        Share of the multiplications on the accelerator.
    quantization : Quantization, optional
        What quantizing it cost.
    out : Path, optional
        File that holds the network.
    """

    network: Network
    family: str
    preprocessing: "Preprocessing | None"
    notes: Sequence[str]
    nodes: Sequence[tuple[str, str, str]] = ()
    share: float = 1.0
    quantization: Quantization | None = None
    out: Path | None = None

    def figures(self) -> dict:
        config, seen = self.network.config, self.preprocessing
        return {
            "name": self.network.name, "family": self.family, **dimensions(config),
            "image": [config.image_height, config.image_width], "patch": config.patch_size,
            "prefix_tokens": config.prefix_tokens, "norm": config.norm,
            "norm_epsilon": config.norm_epsilon, "activation": config.activation,
            "classes": list(config.num_classes),
            "share_on_accelerator": self.share,
            "host": [{"operator": kind, "name": name, "reason": reason}
                     for kind, name, reason in self.nodes],
            "preprocessing": None if seen is None else vars(seen), "notes": list(self.notes),
            "out": None if self.out is None else str(self.out),
            "quantization": None if self.quantization is None else self.quantization.figures()}

    def table(self) -> Group:
        table = Table("", self.network.name)
        for name, value in self.figures().items():
            if name not in ("name", "notes", "host", "quantization", "preprocessing"):
                table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in (self.figures()["preprocessing"] or {}).items():
            table.add_row(name, str(value))
        reasons = Counter(reason for *_, reason in self.nodes)
        host = []
        for reason, count in reasons.items():
            kinds = sorted({kind for kind, _, why in self.nodes if why == reason})
            host.append(Text(f"* {count} nodes on the host ({', '.join(kinds)}): {reason}"))
        quantized = [] if self.quantization is None else [self.quantization.table()]
        return Group(table, *(Text(f"* {note}") for note in self.notes), *host, *quantized)


def choices(*, heads: int | None = None, image: str | None = None, top_k: int | None = None,
            norm: str | None = None, activation: str | None = None, epsilon: float | None = None,
            container: str | None = None, preprocessing: str | Path | None = None,
            mean: str | None = None, std: str | None = None, scale: float | None = None,
            order: str | None = None, interpolation: str | None = None,
            crop_share: float | None = None, pad: str | None = None, fill: str | None = None
            ) -> "Options":
    """Return what is said of a network beside its file.

    Parameters
    ----------
    heads, top_k, norm, activation, epsilon, container, crop_share, pad
        As :class:`deltamoe.golden.importing.options.Options` has them.
    image : str, optional
        Height and width of an image as ``HEIGHTxWIDTH``, or one number for both.
    preprocessing : str or Path, optional
        ``imagenet``, ``half`` or ``edge-moe``, or a ``preprocessor_config.json``.
    mean, std : str, optional
        A number for each channel, by commas; both or neither.
    scale, order, interpolation
        As :class:`deltamoe.golden.importing.preprocessing.Preprocessing` has them, in place of what
        the preprocessing says.
    fill : str, optional
        What a picture is filled up with, 0..255 for each channel or one for all, by commas.

    Raises
    ------
    ValueError
        Names the option, its value and what is allowed.
    """
    from deltamoe.golden.config import ACTIVATIONS, NORMS
    from deltamoe.golden.importing.options import Options
    from deltamoe.golden.importing.preprocessing import PLACES

    for name, value in (("heads", heads), ("top_k", top_k)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} is not a positive integer")
    for name, value, allowed in (("pad", pad, PLACES), ("norm", norm, NORMS),
                                 ("activation", activation, ACTIVATIONS)):
        if value not in (None, *allowed):
            raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}")
    color = None if fill is None else tuple(int(value) if value.is_integer() else value
                                            for value in numbers("fill", fill))
    return Options(
        heads=heads, image=None if image is None else sides(image), top_k=top_k, norm=norm,
        activation=activation, epsilon=epsilon, container=container, crop_share=crop_share,
        pad=pad, fill=color, preprocessing=chosen(preprocessing, mean, std, {
            "interpolation": interpolation, "scale": scale, "order": order}))


def sides(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``, or one number for both.

    Raises
    ------
    ValueError
        It is neither.
    """
    words = str(text).split("x")
    if not (len(words) in {1, 2} and all(word.isdecimal() and 0 < int(word) <= 8192
                                         for word in words)):
        raise ValueError(f"image {text!r} is not HEIGHTxWIDTH in pixels, each at most 8192")
    return int(words[0]), int(words[-1])


def chosen(name: str | Path | None, mean: str | None, std: str | None, changes: dict
           ) -> "Preprocessing | None":
    """Return the preprocessing that options say, with ``changes`` that are not None.

    Raises
    ------
    ValueError
        They contradict each other, or are none.
    """
    from dataclasses import replace

    from deltamoe.golden.importing.preprocessing import NAMED, Preprocessing
    from deltamoe.golden.importing.processors import processor, read_json

    changes = {field: value for field, value in changes.items() if value is not None}
    if (mean is None) != (std is None):
        raise ValueError(f"--{'std' if std is None else 'mean'} is missing: mean and std are said "
                         "together")
    if name is not None and mean is not None:
        raise ValueError("--preprocessing and --mean both say how pixels are normalized; say one")
    if mean is not None:
        preprocessing = Preprocessing(mean=numbers("mean", mean), std=numbers("std", std))
    elif name is None:
        for field in changes:
            raise ValueError(f"--{field} needs --preprocessing, or --mean and --std")
        return None
    elif str(name) in NAMED:
        preprocessing = NAMED[str(name)]
    elif Path(name).is_file():
        preprocessing = processor(read_json(Path(name)), Path(name))
    else:
        raise ValueError(f"preprocessing {str(name)!r} is neither a file nor one of "
                         f"{', '.join(NAMED)}")
    return replace(preprocessing, **changes)


def numbers(name: str, text: str) -> tuple[float, ...]:
    """Read numbers by commas.

    Raises
    ------
    ValueError
        They are none.
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{name}={text!r} is not one number for each channel, by commas"
                         ) from None


def import_network(source: str | Path, out: str | Path | None = None, *,
                   calibrate: str | Path | None = None, progress: Progress = QUIET,
                   **options: object) -> Imported:
    """Make a network of another program one of ours.

    Parameters
    ----------
    source : str or Path
        ONNX file; checkpoint of timm, Hugging Face, torchvision or M³ViT as a file; Hugging Face's
        folder, or Edge-MoE's.
    out : str or Path, optional
        File to write: in floating point, or quantized if there are images.
    calibrate : str or Path, optional
        Folder of pictures whose ranges are seen, in it or in one folder for each class.
    progress : Progress
        Is told of every picture.
    **options : object
        As :func:`choices` takes them.

    Raises
    ------
    ValueError
        Names what is wrong and what is allowed.
    OSError
        A file cannot be read or written.
    """
    from deltamoe.golden.importing.network_file import check_name
    from deltamoe.golden.importing.source import load
    from deltamoe.golden.library import Network as Weights

    target = None if out is None else Path(out)
    if target is not None:
        check_name(target)
    found = load(Path(source), choices(**options))
    network = Network(found.config.name, found.config,
                      Weights(None, found.model(), found.preprocessing, found.host))
    quantized = None
    if calibrate is not None:
        quantized = quantize(network, calibrate, out, progress=progress)
        network = quantized.network
    elif target is not None:
        found.save(target)
        network = Network(str(target), found.config, network.built)
    return Imported(network, found.family, found.preprocessing, found.notes, found.nodes,
                    found.share, quantized, target)
