"""The descriptor in hardware: :mod:`deltamoe.rtl.program` with the shapes of its fields."""

from enum import IntEnum
from types import new_class

from amaranth import Cat
from amaranth.lib import data, enum

from deltamoe.rtl import program
from deltamoe.rtl.cycles import DESCRIPTOR_BYTES
from deltamoe.rtl.program import FIELDS


def shaped(kind: type[IntEnum], shape: int) -> enum.EnumType:
    """Return an enumeration with the members of ``kind``, in so many bits."""
    return new_class(kind.__name__, (enum.IntEnum,), {"shape": shape}, lambda names: [
        names.__setitem__(member.name, member.value) for member in kind])


Opcode = shaped(program.Opcode, FIELDS["opcode"])
Target = shaped(program.Target, FIELDS["target"])
Source = shaped(program.Source, FIELDS["source"])
Dest = shaped(program.Dest, FIELDS["dest"])
Mode = shaped(program.Mode, FIELDS["mode"])
ErrorCode = shaped(program.ErrorCode, 8)

DESCRIPTOR = data.StructLayout(FIELDS)
assert DESCRIPTOR.size == 8 * DESCRIPTOR_BYTES

TEMPORAL = data.StructLayout(program.TEMPORAL)


def temporal(descriptor) -> data.View:
    """Return a descriptor's fields of :data:`deltamoe.rtl.program.TEMPORAL`."""
    return data.View(TEMPORAL, Cat(descriptor.kappa22, descriptor.kappa26))
