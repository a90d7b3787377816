"""Delay of a part's cells in LUT levels: what a path goes through between two registers.

One level is a LUT and the wire behind it; everything else is weighed against that, each with the
wire behind it. A carry chain has no wires inside. A multiplexer that is in the slice of the LUTs
whose outputs it chooses from adds no wire for these, but its select comes by one. A path that
begins in a block memory without an output register, or goes through a multiplier whose registers
are not used, counts several levels there.

The weights are those of ECP5, speed grade 6, from critical paths that nextpnr-ecp5 0.11 reported of
eight units of ``nano``, each routed alone (``deltamoe place-and-route``), in ns: LUT 0.24, a wire
1.03 on average (53 wires), so 1.27 a level; multiplexer 0.26; carry cell 0.45 in, 0.07 along, 0.42
out; multiplier 3.93; from the clock, flip-flop 0.52 and block memory 5.83. A distributed memory is
taken as a LUT. Those of UltraScale+ and of registered block memories are assumed: no open tool
routes the one, and no memory here has the other.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Net = int | str
"""A wire of one bit; constants are strings."""

CLOCKS = frozenset({"CLK", "C", "WCK", "WCLK", "CLKA", "CLKB", "CLKARDCLK", "CLKBWRCLK"})
"""Pins that no path ends at. ``C`` is a clock of a flip-flop alone."""

MUX = 0.2
"""Levels of a multiplexer behind LUTs, from what it chooses from; from its select, one."""

CARRY_IN, CARRY_ALONG, CARRY_OUT = 0.35, 0.05, 1.15
"""Levels of a carry cell into the chain, along it, and to a sum, from either."""

BLOCK_MEMORY = {"DP16KD": 4.2, "RAMB18E2": 2.5, "RAMB36E2": 2.5}
"""Levels until a block memory without an output register drives its data, beyond a flip-flop's."""

REGISTERED_MEMORY = 0.7
"""The same with one."""

MULTIPLIER = {"MULT18X18D": 3.9, "DSP48E2": 2.5}
"""Levels of a multiplier; of a DSP48E2 the product alone."""

PRE_ADDER, POST_ADDER = 1.0, 1.5
"""Levels of a DSP48E2's adders."""


@dataclass(frozen=True)
class Cell:
    """A cell of a netlist.

    Attributes
    ----------
    kind, name : str
        Its type, and what it is called.
    inputs, outputs : Mapping of str to list
        Nets by pin.
    parameters : Mapping of str to str
        As Yosys writes them.
    """

    kind: str
    name: str
    inputs: Mapping[str, list[Net]]
    outputs: Mapping[str, list[Net]]
    parameters: Mapping[str, str]

    def uses(self, *names: str) -> bool:
        """Whether a register of a DSP48E2 or a block memory is used; one not named is unused."""
        return any(int(self.parameters.get(name, "0"), 2) for name in names)


@dataclass
class Ways:
    """What a cell is to paths, in levels.

    Attributes
    ----------
    through : list of (Net, Net, float)
        From an input to an output in the same cycle.
    starts, ends : list of (Net, float)
        Outputs that registers in the cell drive, and inputs that reach registers in it.
    """

    through: list[tuple[Net, Net, float]] = field(default_factory=list)
    starts: list[tuple[Net, float]] = field(default_factory=list)
    ends: list[tuple[Net, float]] = field(default_factory=list)

    def cross(self, sources: Iterable[Net], targets: Iterable[Net], levels: float) -> None:
        """Add a way from each source to each target."""
        targets = list(targets)
        self.through += [(source, target, levels) for source in sources for target in targets]

    def start(self, targets: Iterable[Net], levels: float) -> None:
        """Add nets that a register drives."""
        self.starts += [(target, levels) for target in targets]

    def end(self, sources: Iterable[Net], levels: float) -> None:
        """Add nets that a register takes."""
        self.ends += [(source, levels) for source in sources]


def nets(pins: Mapping[str, list[Net]]) -> list[Net]:
    """Return the nets of all pins but clocks."""
    return [net for pin, wires in pins.items() if pin not in CLOCKS for net in wires]


def by(levels: float) -> Callable[[Cell, Ways], None]:
    """Return the rule of a cell without registers that takes so many levels."""
    def rule(cell: Cell, ways: Ways) -> None:
        ways.cross([net for wires in cell.inputs.values() for net in wires],
                   [net for wires in cell.outputs.values() for net in wires], levels)
    return rule


def multiplexer(cell: Cell, ways: Ways) -> None:
    """Choose between two outputs of the slice by a select that comes from anywhere."""
    for pin, sources in cell.inputs.items():
        ways.cross(sources, nets(cell.outputs), 1 if pin in {"C0", "SD", "S"} else MUX)


def flip_flop(cell: Cell, ways: Ways) -> None:
    """Begin and end paths."""
    ways.start(nets(cell.outputs), 0)
    ways.end(nets(cell.inputs), 0)


def carry(cell: Cell, ways: Ways) -> None:
    """Enter a carry chain, go along it, or leave it."""
    for pin, sources in cell.inputs.items():
        for out, targets in cell.outputs.items():
            inside = CARRY_ALONG if pin in {"CIN", "CI", "CYINIT"} else CARRY_IN
            ways.cross(sources, targets, inside if out in {"COUT", "CO"} else CARRY_OUT)


def distributed(cell: Cell, ways: Ways) -> None:
    """Read by address like a LUT; write at the end of the cycle."""
    addresses = [net for pin, wires in cell.inputs.items()
                 if pin.startswith(("RAD", "DPRA", "ADDR", "A")) for net in wires]
    ways.cross(addresses, nets(cell.outputs), 1)
    ways.start(nets(cell.outputs), 1)
    ways.end(nets(cell.inputs), 0)


def block_memory(cell: Cell, ways: Ways) -> None:
    """Read and write at the end of the cycle; the data of a read come late in the next."""
    for pin, wires in cell.outputs.items():
        port = "B" if pin.startswith(("DOB", "DOUTB", "DOUTPB")) else "A"
        registered = (cell.uses(f"DO{port}_REG")
                      or cell.parameters.get(f"REGMODE_{port}") == "OUTREG")
        ways.start(wires, REGISTERED_MEMORY if registered else BLOCK_MEMORY[cell.kind])
    ways.end(nets(cell.inputs), 0)


def multiplier(cell: Cell, ways: Ways) -> None:
    """Multiply within the cycle: Yosys uses no register of a MULT18X18D.

    Raises
    ------
    ValueError
        One is used.
    """
    for name, value in cell.parameters.items():
        if name.startswith("REG_") and name.endswith("_CLK") and value != "NONE":
            raise ValueError(f"no levels are known of {cell.kind} with {name}={value}")
    by(MULTIPLIER[cell.kind])(cell, ways)


def dsp(cell: Cell, ways: Ways) -> None:
    """Pre-adder, multiplier and adder of a DSP48E2, up to the first register of each way."""
    behind_product = 0 if cell.uses("PREG") else POST_ADDER
    for pin, sources in cell.inputs.items():
        if pin in {"CLK", "ACIN", "BCIN", "PCIN"} and not any(
                isinstance(net, int) for net in sources):
            continue
        if pin in CLOCKS - {"C"}:
            continue
        if pin.startswith(("CE", "RST")):
            ways.end(sources, 0)
            continue
        stages: list[tuple[float, bool]] = []
        if pin in {"A", "D", "INMODE"}:
            stages = [(0, cell.uses(f"{pin}REG"))]
            if cell.parameters.get("AMULTSEL") == "AD" or pin == "D":
                stages.append((PRE_ADDER, cell.uses("ADREG")))
        elif pin == "B":
            stages = [(0, cell.uses("BREG"))]
        if pin in {"A", "B", "D", "INMODE"} and cell.parameters.get("USE_MULT") != "NONE":
            stages.append((MULTIPLIER[cell.kind], cell.uses("MREG")))
        elif pin in {"C", "ALUMODE", "CARRYIN", "CARRYINSEL", "OPMODE"}:
            stages = [(0, cell.uses(f"{pin}REG"))]
        stages.append((POST_ADDER, cell.uses("PREG")))
        levels = 0.0
        for stage, registered in stages:
            levels += stage
            if registered:
                ways.end(sources, levels)
                break
        else:
            ways.cross(sources, nets(cell.outputs), levels)
    if cell.uses("PREG"):
        ways.start(nets(cell.outputs), 0)
    elif cell.uses("MREG", "CREG", "OPMODEREG"):
        ways.start(nets(cell.outputs), behind_product)
    elif cell.uses("ADREG", "AREG", "BREG", "DREG"):
        ways.start(nets(cell.outputs), PRE_ADDER + MULTIPLIER[cell.kind] + behind_product)


RULES: dict[str, Callable[[Cell, Ways], None]] = {
    **{f"LUT{inputs}": by(1) for inputs in range(1, 7)},
    "INV": by(0),                                           # a LUT or a register takes it in
    **dict.fromkeys(("PFUMX", "L6MUX21", "MUXF7", "MUXF8", "MUXF9"), multiplexer),
    **dict.fromkeys(("TRELLIS_FF", "FDRE", "FDSE", "FDCE", "FDPE"), flip_flop),
    **dict.fromkeys(("CCU2C", "CARRY4", "CARRY8"), carry),
    **dict.fromkeys(("TRELLIS_DPR16X4", "SRL16E", "SRLC32E", "RAM32X1S", "RAM64X1S", "RAM128X1S",
                     "RAM256X1S", "RAM512X1S", "RAM32X1D", "RAM64X1D", "RAM128X1D", "RAM256X1D",
                     "RAM32M", "RAM64M", "RAM32M16", "RAM64M8", "RAM32X16DR8", "RAM64X8SW"),
                    distributed),
    **dict.fromkeys(BLOCK_MEMORY, block_memory),
    "MULT18X18D": multiplier, "DSP48E2": dsp,
}
"""What each kind of cell is to paths."""


def ways(cell: Cell) -> Ways:
    """Return what a cell is to paths.

    Raises
    ------
    ValueError
        The kind of cell is not known, or it is used in a way that is not.
    """
    if cell.kind not in RULES:
        raise ValueError(f"no levels are known of the cell {cell.kind}, only of {', '.join(RULES)}")
    of_cell = Ways()
    RULES[cell.kind](cell, of_cell)
    return of_cell
