"""The descriptor in hardware: :mod:`deltamoe.rtl.program` with the shapes of its fields.

``descriptor.linear.rows`` is what the bits mean if the opcode is ``LINEAR``. What several opcodes
have in the same bits is ``descriptor.operator.rows``, ``descriptor.compute.wait_loads``,
``descriptor.transfer.address``, or ``descriptor.opcode``.
"""

from dataclasses import fields
from enum import IntEnum
from types import new_class

from amaranth.lib import data, enum

from deltamoe.rtl import program
from deltamoe.rtl.cycles import DESCRIPTOR_BYTES


def shaped(kind: type[IntEnum], shape: int) -> enum.EnumType:
    """Return an enumeration with the members of ``kind``, in so many bits."""
    return new_class(kind.__name__, (enum.IntEnum,), {"shape": shape}, lambda names: [
        names.__setitem__(member.name, member.value) for member in kind])


WIDTHS = {field.kind: field.width for kind in program.KINDS for field in program.layout(kind)}
"""Bits of the enumerations."""

Opcode = shaped(program.Opcode, program.OPCODE_BITS)
Target = shaped(program.Target, WIDTHS[program.Target])
Source = shaped(program.Source, WIDTHS[program.Source])
Dest = shaped(program.Dest, WIDTHS[program.Dest])
Mode = shaped(program.Mode, WIDTHS[program.Mode])
ErrorCode = shaped(program.ErrorCode, 8)


def view(base: type[program.Descriptor]) -> data.FlexibleLayout:
    """Return the fields of a type of descriptors, which all that derive from it have in place."""
    names = {field.name for field in fields(base)}
    (places,) = {tuple((field.name, data.Field(field.width, field.offset))
                       for field in program.layout(kind) if field.name in names)
                 for kind in program.KINDS if issubclass(kind, base)}
    return data.FlexibleLayout(8 * DESCRIPTOR_BYTES, dict(places))


DESCRIPTOR = data.UnionLayout({
    "opcode": program.OPCODE_BITS, "compute": view(program.Compute),
    "transfer": view(program.Transfer), "operator": view(program.Operator),
    **{kind.opcode.name.lower(): view(kind) for kind in program.KINDS if fields(kind)}})
