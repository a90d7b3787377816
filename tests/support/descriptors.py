"""Descriptors that no compiler makes."""

from dataclasses import replace

import numpy as np

from deltamoe.rtl.program import Descriptor, layout, pack


def broken(descriptor: Descriptor, *, opcode: int | None = None, **fields: int) -> bytes:
    """Encode a descriptor with some of its fields replaced, or its opcode."""
    raw = pack(replace(descriptor, **fields))
    return raw if opcode is None else bytes([raw[0] & 0xF0 | opcode]) + raw[1:]


def arbitrary(rng: np.random.Generator, kind: type[Descriptor], **fields: int) -> Descriptor:
    """Draw a descriptor: any bits in every field but those that ``fields`` gives."""
    _, *free = layout(kind)
    return kind(**{field.name: int(rng.integers(1 << field.width)) for field in free} | fields)
