"""Registers as the manifest and the header of the C driver tell them."""

from deltamoe.boards.driver.manifest import Condition, Control, Counter, Error, Value, Write
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.registers import (
    COUNTERS_OFFSET,
    ID,
    REGISTERS,
    VERSION,
    WATCHDOG,
    Command,
    Status,
)
from deltamoe.rtl.program import ErrorCode

MEANINGS = {
    ErrorCode.OPCODE: "the descriptor's opcode is unknown",
    ErrorCode.FIELD: "a field of the descriptor is outside its maximum",
    ErrorCode.RANGE: "the descriptor reaches beyond the end of a memory on the chip",
    ErrorCode.ADDRESS: "an address is unaligned, or beyond the memory that the program may reach",
    ErrorCode.BUS: "the memory answered with an error",
    ErrorCode.DEADLOCK: "the descriptor and the loads wait for each other",
    ErrorCode.LENGTH: "the program has no end, or too many descriptors",
    ErrorCode.WATCHDOG: "nothing moved for too long: the memory does not answer",
}
"""What a user of the driver reads for each error."""

ALL = (1 << 32) - 1


def condition(register: str, mask: int, value: int) -> Condition:
    """Return that a register holds ``value`` in the bits of ``mask``."""
    return Condition(register=register, offset=REGISTERS[register].offset, mask=mask, value=value)


def write(register: str, value: int, kind: Value = Value.NUMBER) -> Write:
    """Return a write of a register."""
    return Write(register=register, offset=REGISTERS[register].offset, kind=kind, value=value)


def counters() -> tuple[Counter, ...]:
    """Return all counters."""
    return tuple(Counter(name=name, offset=COUNTERS_OFFSET + 8 * number, meaning=meaning)
                 for number, (name, meaning) in enumerate(COUNTERS.items()))


def control(program: Program) -> Control:
    """Return how a program is started, awaited and ended."""
    return Control(
        identity=(condition("id", ALL, ID), condition("version", ALL, VERSION)),
        start=(
            write("program_low", program.start, Value.ADDRESS_LOW),
            write("program_high", program.start, Value.ADDRESS_HIGH),
            write("program_length", len(program.descriptors)),
            write("memory_low", 0, Value.ADDRESS_LOW),
            write("memory_high", 0, Value.ADDRESS_HIGH),
            write("memory_size", program.size),
            write("watchdog", WATCHDOG),
            write("control", Command.START),
        ),
        ended=condition("status", Status.BUSY, 0),
        failed=condition("status", Status.ERROR, Status.ERROR),
        error_code=REGISTERS["error_code"].offset, error_index=REGISTERS["error_index"].offset,
        errors=tuple(Error(code=code, name=code.name, meaning=meaning)
                     for code, meaning in MEANINGS.items()),
        reset=(write("control", Command.RESET),),
        quiet=condition("status", Status.DRAINING, 0),
        counters=counters(),
    )
