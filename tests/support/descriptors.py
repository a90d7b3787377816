"""Descriptors that no compiler makes."""

from dataclasses import replace

from deltamoe.rtl.program import Descriptor, pack


def broken(descriptor: Descriptor, *, opcode: int | None = None, **fields: int) -> bytes:
    """Encode a descriptor with some of its fields replaced, or its opcode."""
    raw = pack(replace(descriptor, **fields))
    return raw if opcode is None else bytes([raw[0] & 0xF0 | opcode]) + raw[1:]
