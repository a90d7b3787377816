"""Descriptors in their final order, with the loads of the program's own pieces, and addresses."""

from dataclasses import replace

import numpy as np

from deltamoe.rtl.compiler.assembler import Assembler, Program
from deltamoe.rtl.config import FIELD, HwConfig
from deltamoe.rtl.program import DESCRIPTOR_BYTES, Compute, Descriptor, Load, Store, Target, pack

KEPT = (Target.STATE, Target.REFERENCE)
"""Targets whose addresses are those of the state, where the memory begins."""

Named = tuple[str, Descriptor]


def pieces(count: int, hw: HwConfig) -> list[int]:
    """Return the length of every piece of ``count`` descriptors and the loads of pieces."""
    total = count
    while -(-total // hw.piece) - 1 != total - count:
        total += 1
    return [min(hw.piece, total - start) for start in range(0, total, hw.piece)]


def with_pieces(named: list[Named], hw: HwConfig) -> list[Named]:
    """Insert the load of the next piece into the middle of every piece but the last.

    The piece takes the place of the one before this one, so it waits for that one's compute
    descriptors. In the middle, these have long finished, and what follows hides the transfer.
    """
    lengths, order = pieces(len(named), hw), [0]
    paged: list[Named] = []
    rest, computes, inserted = iter(named), [0], 0
    for index in range(sum(lengths)):
        piece = index // hw.piece
        if index % hw.piece == 0:
            computes.append(computes[-1])
        if index % hw.piece == hw.piece // 2 and piece + 1 < len(lengths):
            paged.append(("program.load", Load(
                target=Target.PROGRAM, address=(piece + 1) * hw.piece * DESCRIPTOR_BYTES,
                beats=lengths[piece + 1] * DESCRIPTOR_BYTES // hw.bus_bytes,
                descriptors=lengths[piece + 1], base=(piece + 1) % 2 * hw.piece,
                wait_computes=computes[piece])))
            inserted = 1
            continue
        name, descriptor = next(rest)
        if isinstance(descriptor, Load):
            order.append(order[-1] + 1 + inserted)
            inserted = 0
        elif isinstance(descriptor, Compute):
            descriptor = replace(descriptor, wait_loads=order[descriptor.wait_loads])
            computes[-1] += 1
        paged.append((name, descriptor))
    return paged


def encode(name: str, descriptor: Descriptor) -> bytes:
    """Encode a descriptor; an error names what it is for."""
    try:
        return pack(descriptor)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def link(owner: str, c: Assembler, frames: int, image_beats: int, output_beats: int,
         area: int = 0) -> Program:
    """Give every byte its address: state, program, weights in order of use, images, outputs.

    ``area`` is the bytes of the state.

    Raises
    ------
    ValueError
        There are more descriptors than the hardware counts, or the field of one does not fit.
    """
    hw = c.hw
    named = with_pieces(list(zip(c.names, c.descriptors, strict=True)), hw)
    start = area + len(named) * DESCRIPTOR_BYTES
    image, size = start + c.end, image_beats * hw.bus_bytes
    output, stored = image + frames * size, output_beats * hw.bus_bytes
    images, outputs = ([first + step * n for n in range(frames)]
                       for first, step in ((image, size), (output, stored)))
    next_image, next_output = iter(images), iter(outputs)
    placed = []
    for name, descriptor in named:
        if isinstance(descriptor, Load) and descriptor.target not in KEPT:
            before = area if descriptor.target == Target.PROGRAM else start
            descriptor = replace(descriptor, address=next(next_image) if name == "image.load"
                                 else before + descriptor.address)
        if isinstance(descriptor, Store) and descriptor.target not in KEPT:
            descriptor = replace(descriptor, address=next(next_output))
        placed.append(descriptor)
    if len(placed) >= FIELD:
        raise ValueError(f"{owner}: a program for {frames} frames has {len(placed)} "
                         f"descriptors, more than the {FIELD - 1} that the hardware counts")
    code = np.frombuffer(b"".join(encode(name, descriptor) for (name, _), descriptor in zip(
        named, placed, strict=True)), np.uint8)
    return Program(
        hw, tuple(placed), tuple(name for name, _ in named),
        area, np.concatenate([code, *c.blobs]), tuple(images), tuple(outputs), output_beats,
        output + frames * stored)
