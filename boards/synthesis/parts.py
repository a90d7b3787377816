"""Capacity of the parts, and what each of their cells costs.

LUTs are counted before packing, so they are an upper bound: the two outputs of a LUT6 are not
shared. Flip-flops, multipliers and memory blocks are exact.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from deltamoe.boards.clock import ECP5, ULTRASCALE_PLUS, Rule

RESOURCES = ("lut", "lutram", "ff", "dsp", "bram")
"""LUTs, those of them that are distributed memory, flip-flops, multipliers, memory blocks."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part, and how Yosys synthesizes for its family.

    Attributes
    ----------
    name, flow : str
        The part; Yosys' command and its options.
    capacity : dict
        What there is of each resource.
    block : str
        What one memory block is.
    logic, memories : dict
        LUTs of a cell that computes, of a cell of distributed memory.
    flip_flops, multipliers : frozenset
        Cells that are one each.
    blocks : dict
        Memory blocks of a cell.
    pair_map : Path or None
        Techmap of a packed :class:`deltamoe.rtl.linear.mac_pair.MacPair`.
    rule : Rule
        How long LUT levels take on it.
    router, place : str, tuple
        nextpnr for the family, if there is one, and its options for the part.
    """

    name: str
    flow: str
    capacity: dict[str, int]
    block: str
    logic: dict[str, int]
    memories: dict[str, int]
    flip_flops: frozenset[str]
    multipliers: frozenset[str]
    blocks: dict[str, Fraction]
    rule: Rule
    pair_map: Path | None = None
    router: str | None = None
    place: tuple[str, ...] = ()

    def cost(self, cells: dict[str, int]) -> dict[str, Fraction]:
        """Return what a netlist of ``cells`` needs of each resource."""
        lutram = sum(self.memories.get(kind, 0) * count for kind, count in cells.items())
        return {
            "lut": lutram + sum(self.logic.get(kind, 0) * count for kind, count in cells.items()),
            "lutram": lutram,
            "ff": sum(count for kind, count in cells.items() if kind in self.flip_flops),
            "dsp": sum(count for kind, count in cells.items() if kind in self.multipliers),
            "bram": sum((self.blocks.get(kind, 0) * count for kind, count in cells.items()),
                        Fraction()),
        }


PARTS = {
    # Capacity: AMD DS891, ZU9EG. LUTs of a memory: AMD UG974, UltraScale+ libraries guide.
    "xcup": Part(
        name="XCZU9EG", flow="synth_xilinx -family xcup -noiopad -noclkbuf -flatten",
        capacity={"lut": 274_080, "lutram": 144_000, "ff": 548_160, "dsp": 2520, "bram": 912},
        block="BRAM36",
        logic={**{f"LUT{inputs}": 1 for inputs in range(1, 7)}, "INV": 1, "SRL16E": 1,
               "SRLC32E": 1},
        memories={"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8,
                  "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8,
                  "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X16DR8": 8,
                  "RAM64X8SW": 8},
        flip_flops=frozenset({"FDRE", "FDSE", "FDCE", "FDPE"}),
        multipliers=frozenset({"DSP48E2"}),
        blocks={"RAMB18E2": Fraction(1, 2), "RAMB36E2": Fraction(1)},
        rule=ULTRASCALE_PLUS,
        pair_map=Path(__file__).with_name("xcup_mac_pair.v"),
    ),
    # Capacity: Lattice FPGA-DS-02012. A carry cell is two LUTs; a memory of 16 x 4 bits is four,
    # and the two of the slice that drives their write port, as nextpnr-ecp5 counts.
    "ecp5": Part(
        name="LFE5U-85F", flow="synth_ecp5",
        capacity={"lut": 83_640, "lutram": 83_640, "ff": 83_640, "dsp": 156, "bram": 208},
        block="EBR",
        logic={"LUT4": 1, "CCU2C": 2},
        memories={"TRELLIS_DPR16X4": 6},
        flip_flops=frozenset({"TRELLIS_FF"}),
        multipliers=frozenset({"MULT18X18D"}),
        blocks={"DP16KD": Fraction(1)},
        rule=ECP5,
        router="nextpnr-ecp5", place=("--85k", "--package", "CABGA381", "--speed", "6"),
    ),
}
