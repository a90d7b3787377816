"""SystemRDL: the registers alone, from which PeakRDL makes documents, headers and models."""

from deltamoe.boards.packages.core import Core, Format
from deltamoe.rtl.control.register_map import Access, Field, Register

SIDES = {Access.READ: "sw = r; hw = w;", Access.WRITE: "sw = w; hw = r; singlepulse;",
         Access.BOTH: "sw = rw; hw = r;", Access.CLEAR: "sw = rw; hw = r; onwrite = woclr; hwset;"}
"""Who reads and writes a field, by its register's access."""


def field_of(register: Register, field: Field) -> str:
    """Return a field of a register."""
    sides = "sw = r; hw = na;" if register.constant else SIDES[register.access]
    return (f'        field {{ desc = "{field.meaning}"; {sides} }} '
            f"{field.name}[{field.low + field.width - 1}:{field.low}] = 0x{field.reset:x};")


def description(core: Core) -> str:
    """Return the address map."""
    lines = ["// Written by deltamoe package --as systemrdl.", "", f"addrmap {core.name} {{",
             f'    name = "DeltaMoE {core.board.hardware.name}";', "    default regwidth = 32;"]
    for name, register in core.registers.items():
        lines += ["    reg {", f'        desc = "{register.meaning}";',
                  *(field_of(register, field) for field in register.fields),
                  f"    }} {name} @ 0x{register.offset:03x};"]
    return "\n".join([*lines, "};", ""])


def files(core: Core) -> dict[str, str]:
    """Return the description."""
    return {f"{core.name}.rdl": description(core)}


FORMAT = Format(
    name="systemrdl", holds="SystemRDL of the registers", files=files,
    use=lambda core: f"peakrdl html {core.name}.rdl -o html, or c-header, uvm, ..., in the folder",
    checked="systemrdl-compiler elaborates it, and finds every register and field",
    unchecked="nothing")
