"""Registers as the manifest and the header of the C driver tell them."""

from deltamoe.boards.driver.manifest import (
    Condition,
    Control,
    Counter,
    Error,
    Identity,
    Value,
    Write,
)
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import (
    COUNTERS_OFFSET,
    MAGIC,
    REGISTERS,
    VERSION,
    WATCHDOG,
    configuration,
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


def flag(register: str, field: str, value: bool) -> Condition:
    """Return that a field of one bit is set, or is not."""
    mask = REGISTERS[register].mask(field)
    return condition(register, mask, mask * value)


def command(name: str) -> Write:
    """Return a write of a command."""
    return write("control", REGISTERS["control"].mask(name))


def identity(register: str, value: int, otherwise: str) -> Identity:
    """Return that a register holds ``value``, and what it means if not."""
    return Identity(register=register, offset=REGISTERS[register].offset, mask=ALL, value=value,
                    otherwise=otherwise)


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
        identity=(
            identity("magic", MAGIC, "there is no accelerator"),
            identity("version", VERSION, "the accelerator's registers are of another version"),
            identity("configuration", configuration(program.hw),
                     f"the program was built for {program.hw.name}, and the accelerator has "
                     "another geometry"),
        ),
        start=(
            write("program_low", program.start, Value.ADDRESS_LOW),
            write("program_high", program.start, Value.ADDRESS_HIGH),
            write("program_length", len(program.descriptors)),
            write("memory_low", 0, Value.ADDRESS_LOW),
            write("memory_high", 0, Value.ADDRESS_HIGH),
            write("memory_size", program.size),
            write("watchdog", WATCHDOG),
            write("interrupt_enable", REGISTERS["interrupt_enable"].mask("ended")),
            command("start"),
        ),
        ended=flag("status", "busy", False),
        failed=flag("status", "error", True),
        error_code=REGISTERS["error_code"].offset, error_index=REGISTERS["error_index"].offset,
        errors=tuple(Error(code=code, name=code.name, meaning=meaning)
                     for code, meaning in MEANINGS.items()),
        reset=(command("reset"),),
        acknowledge=(write("interrupt_status", REGISTERS["interrupt_status"].mask("ended")),),
        quiet=flag("status", "draining", False),
        counters=counters(),
    )
