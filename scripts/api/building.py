"""A network for a board: memory image, manifest and C header, for the drivers in boards/driver."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deltamoe.api.networks import Network
from deltamoe.api.program import Compilation, compile
from deltamoe.api.result import Result
from deltamoe.boards.driver import header
from deltamoe.boards.driver.control import control
from deltamoe.boards.driver.manifest import (
    HEADER,
    HOST,
    IMAGE,
    NAME,
    ElementType,
    File,
    Folded,
    Hardware,
    HostPart,
    Image,
    Input,
    Manifest,
    Meaning,
    Memory,
    Output,
    Preprocessing,
    Region,
    Use,
    Weights,
    sha256,
)
from deltamoe.boards.driver.manifest import Network as Computed
from deltamoe.golden.numerics import PIXEL_ZERO
from deltamoe.host.files import write_all
from deltamoe.lookup import weights
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.layout import image_stride
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.register_map import configuration
from deltamoe.rtl.control.run_control import ADDRESS_WIDTH
from deltamoe.rtl.program import DESCRIPTOR_BYTES
from deltamoe.terminal import Table

if TYPE_CHECKING:
    from deltamoe.golden.importing.preprocessing import Preprocessing as Steps

FILES = (NAME, IMAGE, HEADER, HOST)
"""What a folder may hold; the last one only if a part of the network stays on the host."""


@dataclass(frozen=True)
class Build(Result):
    """A network for an accelerator, in a folder.

    Attributes
    ----------
    folder : Path
        Where the files are.
    manifest : Manifest
        What is in ``manifest.json``.
    """

    folder: Path
    manifest: Manifest

    def figures(self) -> dict:
        return {"folder": str(self.folder), "manifest": self.manifest.model_dump(
            mode="json", by_alias=True)}

    def table(self) -> Table:
        manifest = self.manifest
        table = Table("", f"{manifest.network.name} on {manifest.hardware.name}, task "
                          f"{manifest.network.task}")
        for region in manifest.memory.regions:
            table.add_row(region.use, f"{region.bytes:,} bytes from {region.address:#x} on")
        table.add_row("memory", f"{manifest.memory.bytes:,} bytes, aligned to "
                                f"{manifest.memory.alignment}")
        for file in (NAME, *(file.name for file in manifest.files)):
            table.add_row("file", str(self.folder / file))
        return table


def regions(program: NetworkProgram) -> tuple[Region, ...]:
    """Return what the memory holds, in order."""
    code = len(program.descriptors) * DESCRIPTOR_BYTES
    begins = {
        Use.SCRATCH: 0, Use.PROGRAM: program.start, Use.WEIGHTS: program.start + code,
        Use.INPUT: program.images[0], Use.OUTPUT: program.outputs_at[0]}
    ends = [*begins.values(), program.size][1:]
    return tuple(Region(use=use, address=begin, bytes=end - begin)
                 for (use, begin), end in zip(begins.items(), ends, strict=True) if end > begin)


def preprocessing(steps: "Steps | None") -> Preprocessing | None:
    """Return how a picture becomes pixels."""
    return steps and Preprocessing(
        resize=steps.resize, within=steps.within, interpolation=steps.interpolation,
        crop=steps.crop, order=steps.order, pad=steps.pad, place=steps.place, color=steps.color,
        folded=Folded(mean=steps.mean, std=steps.std, scale=steps.scale))


def input_of(program: NetworkProgram, steps: "Steps | None") -> Input:
    """Return where pixels go, and in which order."""
    config, hw = program.config, program.hw
    return Input(
        address=program.images[0], bytes=program.outputs_at[0] - program.images[0],
        channels=config.image_channels, height=config.image_height, width=config.image_width,
        patch_size=config.patch_size, patch_bytes=image_stride(config, hw) * hw.word,
        zero=PIXEL_ZERO, preprocessing=preprocessing(steps))


def outputs(program: NetworkProgram, scale: float) -> tuple[Output, ...]:
    """Return where the outputs are."""
    config, address = program.config, program.outputs_at[0]
    tokens = Output(meaning=Meaning.TOKENS, address=address, type=ElementType.INT16, scale=scale,
                    bytes=2 * config.num_tokens * config.embed_dim,
                    shape=(config.num_tokens, config.embed_dim))
    if not config.num_classes:
        return (tokens,)
    classes = config.num_classes[program.task]
    return tokens, Output(meaning=Meaning.SCORES, address=address + tokens.bytes, scale=None,
                          type=ElementType.INT16, bytes=2 * classes, shape=(classes,))


def file(name: str, content: bytes) -> File:
    """Return what the manifest says of a file."""
    return File(name=name, bytes=len(content), sha256=sha256(content))


def manifest_of(compilation: Compilation, image: bytes) -> Manifest:
    """Return the manifest of a network whose program and weights are the ``image``.

    Of the files it names those that the network itself consists of.
    """
    network, hw, program = compilation.network, compilation.hw, compilation.program
    host = network.host
    return Manifest(
        format="deltamoe-build", version=2,
        network=Computed(name=network.name, task=compilation.task,
                         weights=Weights(weights(network.name))),
        hardware=Hardware(name=hw.name, configuration=configuration(hw), bus_bytes=hw.bus_bytes),
        files=(file(IMAGE, image), *((file(HOST, host.model),) if host else ())),
        memory=Memory(bytes=program.size, alignment=hw.bus_bytes, address_bits=ADDRESS_WIDTH,
                      regions=regions(program)),
        image=Image(file=IMAGE, address=program.start, bytes=len(image), crc32=zlib.crc32(image)),
        input=input_of(program, network.preprocessing),
        outputs=outputs(program, network.weights.quantized.residual_scale),
        control=control(program), descriptors=tuple(map(str, program.labels)),
        host=host and HostPart(file=HOST, input=host.tokens, outputs=host.outputs))


def build(model: str | Path | Network, hardware: str | HwConfig = "nano",
          out: str | Path | None = None, *, task: int = 0) -> Build:
    """Write a network for an accelerator into a folder: all that a driver needs to run it.

    Parameters
    ----------
    model, hardware, task
        As :func:`deltamoe.api.program.compile` takes them.
    out : str or Path, optional
        The folder, which is made if need be; by default ``out``.

    Raises
    ------
    ValueError
        Names what is wrong; or the network does not fit the hardware.
    OSError
        The folder cannot be written to.
    """
    compilation = compile(model, hardware, task=task)
    host, image = compilation.network.host, compilation.program.memory.tobytes()
    parts = {IMAGE: image} | ({HOST: host.model} if host else {})
    manifest = manifest_of(compilation, image)
    parts[HEADER] = header.program(manifest).encode()
    manifest = manifest.model_copy(update={"files": tuple(file(*part) for part in parts.items())})
    folder = Path("out" if out is None else out)
    folder.mkdir(parents=True, exist_ok=True)
    write_all({folder / NAME: manifest.text()} | {
        folder / name: content for name, content in parts.items()})
    return Build(folder, manifest)
