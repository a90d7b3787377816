"""Warnings of ``verilator --lint-only -Wall`` that say nothing about the generated Verilog.

Each is waived by its message, so that others of its rule, such as a port connected to a wire of
another width or an assignment that loses bits, are still seen.
"""

from typing import NamedTuple


class Waiver(NamedTuple):
    """A rule of Verilator, the messages of it that are waived, and why."""

    rule: str
    message: str
    reason: str


ASSIGNED = "*Operator ASSIGNW expects * bits on the Assign RHS, but Assign RHS's"

WAIVERS = (
    Waiver("DECLFILENAME", "Filename * does not match MODULE name: *",
           "All modules are in one file."),
    Waiver("SYMRSVDWORD", "Symbol matches C++ common word: 'interrupt'",
           "The port has the name that block designs know; Verilator renames it in its C++ only."),
    Waiver("CASEOVERLAP", "Case conditions overlap *",
           "A multiplexer of many inputs: at most one of its select bits is set."),
    Waiver("WIDTHEXPAND", "*Operator * expects * bits on the ?HS, but *",
           "Yosys leaves it to Verilog to extend the narrower operand; Amaranth chose the widths."),
    Waiver("WIDTHEXPAND", f"{ASSIGNED} SIGNED *",
           "The extension of a signed operand of a division, spelled out by Yosys."),
    Waiver("WIDTHEXPAND", "*Operator COND expects * bits on the Conditional True, but *",
           "The dividend of a division that rounds down, spelled out by Yosys."),
    Waiver("WIDTHTRUNC", f"{ASSIGNED} COND *",
           "The same dividend: Verilog counts the constants 1 in it as 32 bits."),
    Waiver("WIDTHTRUNC", f"{ASSIGNED} DIVS *",
           "The quotient fits: Amaranth chose its width."),
    Waiver("WIDTHTRUNC", f"{ASSIGNED} SHIFTR *",
           "A field selected by a shift: the bits above it are not wanted."),
    Waiver("UNOPTFLAT", "Signal unoptimizable: Circular combinational logic: *",
           "A vector whose upper bits are copies of its sign; Amaranth refuses loops of bits."),
    Waiver("UNUSEDSIGNAL", "Bits of signal are not used: *",
           "Carries, and fields of a structure that one of its readers does not need."),
    Waiver("UNUSEDSIGNAL", "Signal is not used: *",
           "Inputs of a unit that other configurations need, and carries whose other bits have "
           "another name; all else that nothing reads has been removed."),
)


def verilator_control(file: str) -> str:
    """Return a Verilator control file that waives :data:`WAIVERS` in ``file``."""
    lines = ["`verilator_config", ""]
    for rule, message, reason in WAIVERS:
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*{file}" -match "{message}"', ""]
    return "\n".join(lines)
