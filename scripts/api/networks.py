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
    from deltamoe.golden.importing.host import Host
    from deltamoe.golden.importing.preprocessing import Preprocessing
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
        Preset, or the path of a file.
    config : ModelConfig
        Its dimensions.
    built : deltamoe.golden.library.Network, optional
        Weights that are known already.
    """

    name: str
    config: ModelConfig
    built: "Weights | None" = None

    @cached_property
    def known(self) -> "Weights":
        """Weights in integers, in floating point, or both: what is at hand."""
        if self.built is not None:
            return self.built
        from deltamoe.golden.library import find

        return find(self.name)

    @property
    def weights(self) -> "Weights":
        """Integer weights in ``quantized``, and float ones in ``real`` where there are any.

        Raises
        ------
        ValueError
            The network is in floating point only.
        """
        if self.known.quantized is None:
            raise ValueError(f"{self.name} is in floating point; deltamoe quantize makes integers "
                             "of it")
        return self.known

    @property
    def preprocessing(self) -> "Preprocessing | None":
        """How a picture becomes the network's pixels; None: it has the network's size already."""
        return None if self.preset else self.known.preprocessing

    @property
    def preset(self) -> bool:
        """Whether its shapes and routing are committed, so that timing needs no weights."""
        return self.name in MODELS and self.built is None

    @property
    def host(self) -> "Host | None":
        """What makes the user's outputs of the tokens; None: the accelerator does."""
        return None if self.preset else self.known.host

    def check_task(self, task: int) -> None:
        """Raise ValueError unless the network has a task of this number."""
        if not 0 <= task < self.config.num_tasks:
            raise ValueError(f"task {task} is not in 0..{self.config.num_tasks - 1}")

    def figures(self) -> dict:
        return {"name": self.name, **dimensions(self.config), "weights": weights_of(self.name)}

    def table(self) -> Table:
        table = Table("", self.name)
        for name, value in self.figures().items():
            if name != "name":
                table.add_row(name, f"{value:,}" if isinstance(value, int) else value)
        return table


def load(name: str | Path | Network, **options: object) -> Network:
    """Return a network by name.

    Parameters
    ----------
    name : str or Path
        A preset of :data:`MODELS`; a file of ours, which is read at once; or what
        :func:`deltamoe.api.importing.import_network` takes.
    **options : object
        What the file of another program does not tell.

    Raises
    ------
    ValueError
        It is none of these; names the presets. Or the file is not understood.
    """
    if isinstance(name, Network):
        return name
    if str(name) in MODELS:
        return Network(str(name), MODELS[str(name)])
    from deltamoe.golden.library import find, is_own

    if Path(name).exists() and not is_own(Path(name)):
        from deltamoe.api.importing import import_network

        return import_network(name, **options).network
    found = find(str(name))
    return Network(str(name), (found.quantized or found.real).config, found)


@dataclass(frozen=True)
class Quantization(Result):
    """Weights quantized on images, and what that costs.

    Attributes
    ----------
    model : str
        Name of the network in floating point.
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
        table = Table("block", "SQNR of the residual, dB", "of this block alone, dB")
        for block in self.noise:
            table.add_row(str(block.layer), f"{block.total:.1f}", f"{block.own:.1f}")
        return Group(table, f"{self.network.name}: block {self.worst.layer} loses most "
                           f"({self.worst.own:.1f} dB)")


def quantize(model: str | Path | Network, images: str | Path, out: str | Path | None = None,
             *, progress: Progress = QUIET, **options: object) -> Quantization:
    """Quantize weights to integers with the ranges seen on calibration images.

    Parameters
    ----------
    model : str, Path or Network
        In floating point, as :func:`load` takes it.
    images : str or Path
        Folder of pictures, or of one folder for each class: of any size if the network's own
        preprocessing is known, else of the network's; what is transparent is black.
    out : str or Path, optional
        Quantized file to write.
    progress : Progress
        Is told of every image.
    **options : object
        As :func:`load` takes them.

    Raises
    ------
    ValueError
        Names what is wrong: no such network, no image of its size, another ending of ``out``.
    OSError
        A file cannot be read or written.
    """
    from deltamoe.golden.importing.network_file import check_name

    if out is not None:
        check_name(Path(out))
    folder = Path(images)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    from dataclasses import replace

    from deltamoe.golden.data.folder import files_below
    from deltamoe.golden.data.images import check_image, load_image
    from deltamoe.golden.library import Network as Weights
    from deltamoe.golden.quantization.quantize import quantize as quantized_on
    from deltamoe.golden.quantization.report import block_noise

    network = load(model, **options)
    real, preprocessing = network.known.real, network.preprocessing
    if real is None:
        raise ValueError(f"{network.name} is quantized already; quantize its float weights")
    paths = files_below(folder)
    for path in paths:
        check_image(path, network.config, preprocessing)
    pixels = [load_image(path, network.config, preprocessing)
              for path in progress.each(paths, "reading images")]
    quantized = replace(quantized_on(real, pixels, refined=True), preprocessing=preprocessing,
                        host=network.host)
    noise = block_noise(real.float(), quantized, pixels[0])
    if out is not None:
        quantized.save(Path(out))
    name = network.name if out is None else str(out)
    return Quantization(network.name, Network(name, network.config, Weights(
        quantized, real.float(), preprocessing, network.host)), len(paths), tuple(noise),
        None if out is None else Path(out))
