"""Descriptors in their final order, with the loads of the program's own pieces, and addresses."""

from dataclasses import replace

import numpy as np

from deltamoe.rtl.compiler.assembler import Assembler, Program
from deltamoe.rtl.config import FIELD, HwConfig
from deltamoe.rtl.label import PROGRAM, Label, Role
from deltamoe.rtl.program import DESCRIPTOR_BYTES, Compute, Descriptor, Load, Store, Target, pack

KEPT = (Target.STATE, Target.REFERENCE)
"""Targets whose addresses are those of the state, where the memory begins."""

Labeled = tuple[Label, Descriptor]


def pieces(count: int, hw: HwConfig) -> list[int]:
    """Return the length of every piece of ``count`` descriptors and the loads of pieces."""
    total = count
    while -(-total // hw.piece) - 1 != total - count:
        total += 1
    return [min(hw.piece, total - start) for start in range(0, total, hw.piece)]


def with_pieces(labeled: list[Labeled], hw: HwConfig) -> list[Labeled]:
    """Insert the load of the next piece into the middle of every piece but the last.

    The piece takes the place of the one before this one, so it waits for that one's compute
    descriptors. In the middle, these have long finished, and what follows hides the transfer.
    """
    lengths, order = pieces(len(labeled), hw), [0]
    paged: list[Labeled] = []
    rest, computes, inserted = iter(labeled), [0], 0
    for index in range(sum(lengths)):
        piece = index // hw.piece
        if index % hw.piece == 0:
            computes.append(computes[-1])
        if index % hw.piece == hw.piece // 2 and piece + 1 < len(lengths):
            paged.append((replace(PROGRAM, role=Role.LOAD), Load(
                target=Target.PROGRAM, address=(piece + 1) * hw.piece * DESCRIPTOR_BYTES,
                beats=lengths[piece + 1] * DESCRIPTOR_BYTES // hw.bus_bytes,
                descriptors=lengths[piece + 1], base=(piece + 1) % 2 * hw.piece,
                wait_computes=computes[piece])))
            inserted = 1
            continue
        label, descriptor = next(rest)
        if isinstance(descriptor, Load):
            order.append(order[-1] + 1 + inserted)
            inserted = 0
        elif isinstance(descriptor, Compute):
            descriptor = replace(descriptor, wait_loads=order[descriptor.wait_loads])
            computes[-1] += 1
        paged.append((label, descriptor))
    return paged


def encode(label: Label, descriptor: Descriptor) -> bytes:
    """Encode a descriptor; an error names what it is for."""
    try:
        return pack(descriptor)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None


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
    labeled = with_pieces(list(zip(c.labels, c.descriptors, strict=True)), hw)
    start = area + len(labeled) * DESCRIPTOR_BYTES
    image, size = start + c.end, image_beats * hw.bus_bytes
    output, stored = image + frames * size, output_beats * hw.bus_bytes
    images, outputs = ([first + step * n for n in range(frames)]
                       for first, step in ((image, size), (output, stored)))
    next_output, loaded = iter(outputs), image
    placed = []
    for _, descriptor in labeled:
        if isinstance(descriptor, Load) and descriptor.target not in KEPT:
            before = area if descriptor.target == Target.PROGRAM else start
            if descriptor.target == Target.IMAGE:  # one behind the other, perhaps in tiles
                address, loaded = loaded, loaded + descriptor.beats * hw.bus_bytes
            else:
                address = before + descriptor.address
            descriptor = replace(descriptor, address=address)
        if isinstance(descriptor, Store) and descriptor.target not in KEPT:
            descriptor = replace(descriptor, address=next(next_output))
        placed.append(descriptor)
    if len(placed) >= FIELD:
        raise ValueError(f"{owner}: a program for {frames} frames has {len(placed)} "
                         f"descriptors, more than the {FIELD - 1} that the hardware counts")
    code = np.frombuffer(b"".join(encode(label, descriptor) for (label, _), descriptor in zip(
        labeled, placed, strict=True)), np.uint8)
    return Program(
        hw, tuple(placed), tuple(label for label, _ in labeled),
        area, np.concatenate([code, *c.blobs]), tuple(images), tuple(outputs), output_beats,
        output + frames * stored)
