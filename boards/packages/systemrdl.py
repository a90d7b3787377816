"""SystemRDL: the registers alone, from which PeakRDL makes documents, headers and models."""

from deltamoe.boards.packages.core import FIELDS, Core, Format, register_map

SIDES = {"r": "sw = r; hw = w;", "w": "sw = w; hw = r; singlepulse;", "rw": "sw = rw; hw = r;"}
"""Who reads and writes a field, by its register's access."""


def fields(name: str, access: str, reset: int) -> list[str]:
    """Return the fields of a register: its bits with names, or all of it."""
    bits = FIELDS.get(name)
    if bits is None:
        initial = "" if access == "r" and not reset else f" = 0x{reset:x}"
        side = "sw = r; hw = na;" if access == "r" and reset else SIDES[access]
        return [f"        field {{ {side} }} value[31:0]{initial};"]
    initial = " = 0" if access == "w" else ""
    return [f"        field {{ {SIDES[access]} }} {bit.name.lower()}"
            f"[{place}:{place}]{initial};"
            for bit in bits for place in [bit.value.bit_length() - 1]]


def description(core: Core) -> str:
    """Return the address map."""
    lines = ["// Written by deltamoe package --as systemrdl.", "", f"addrmap {core.name} {{",
             f'    name = "DeltaMoE {core.board.hardware.name}";', "    default regwidth = 32;"]
    for name, register in register_map().items():
        lines += ["    reg {", f'        desc = "{register.meaning}";',
                  *fields(name, register.access, register.reset),
                  f"    }} {name} @ 0x{register.offset:03x};"]
    return "\n".join([*lines, "};", ""])


def files(core: Core) -> dict[str, str]:
    """Return the description."""
    return {f"{core.name}.rdl": description(core)}


FORMAT = Format(
    name="systemrdl", holds="SystemRDL of the registers", files=files,
    use=lambda core: f"peakrdl html {core.name}.rdl -o html, or c-header, uvm, ..., in the folder",
    checked="systemrdl-compiler elaborates it, and finds every register",
    unchecked="nothing")
