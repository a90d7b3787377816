"""A bitstream: a SoC with the accelerator, placed and routed on the part of a board."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.boards import BOARDS
from deltamoe.boards.driver.bitstream import Bitstream, Cells, Timing
from deltamoe.boards.driver.manifest import NAME, File, sha256
from deltamoe.boards.packages.core import Core
from deltamoe.boards.synthesis import nextpnr, yosys
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.boards.ulx3s.gateware import check_litex, generate
from deltamoe.cached import cached
from deltamoe.host.files import write_folder
from deltamoe.host.outputs import check_new_folder
from deltamoe.host.processes import ProgramError
from deltamoe.terminal import Table

FITTING = {"ulx3s": ("nano", "ulx3s")}
"""Accelerators that the part of a board has room for, by the boards that there are SoCs for."""

CLOCK_MHZ = 50.0
CLOCKS_MHZ = (20, 100)
"""Of the SoC. SDRAM answers in two cycles up to the upper one."""

BAUD = 1_000_000
"""Bits per second of the UART, if nothing else is asked for; the USB chip divides 3,000,000."""

BAUDS = (9600, 3_000_000)

BIT = "soc.bit"

UNTRIED = "No bitstream of this repository has run on a board yet."


@dataclass(frozen=True)
class Built(Result):
    """A bitstream in a folder, with the manifest that stands beside it, and the way of timing."""

    folder: Path
    manifest: Bitstream
    path: tuple[str, str]

    def figures(self) -> dict:
        return {"folder": str(self.folder), "use": self.use, "untried": UNTRIED,
                **self.manifest.model_dump(mode="json")}

    @property
    def use(self) -> str:
        """Command that loads it."""
        return f"openFPGALoader --board {self.manifest.board} {self.folder / BIT}"

    def table(self) -> Group:
        made = self.manifest
        table = Table(title=f"SoC with {made.soc.hardware.name} on {made.part}: "
                            f"{made.timing.fmax_mhz:.1f} MHz, of {made.soc.clock_mhz:g} "
                            f"asked for: slack {made.timing.slack_ns:+.2f} ns")
        for column in ("cells", "used", "available", "%"):
            table.add_column(column, justify="left" if column == "cells" else "right")
        for name, cells in made.utilization.items():
            table.add_row(name, f"{cells.used:,}", f"{cells.available:,}",
                          f"{100 * cells.used / cells.available:.0f}")
        start, end = self.path
        return Group(table, *(Text(line, no_wrap=True, overflow="ignore") for line in (
            f"critical path of {made.timing.critical_ns:.1f} ns, from {start}", f"to {end}",
            f"{'; '.join(made.tools.values())}; seed {made.seed}",
            f"{self.folder}: {', '.join(file.name for file in made.files)}, {NAME}",
            f"load: {self.use}", UNTRIED)))


def check_bitstream(board: str, hardware: str, clock_mhz: float, seed: int, baud: int) -> None:
    """Refuse what there is no bitstream of.

    Raises
    ------
    ValueError
        Names the argument and what is allowed.
    """
    if board not in FITTING:
        raise ValueError(f"board {board!r} is not one of {', '.join(FITTING)}")
    if hardware not in FITTING[board]:
        raise ValueError(f"hardware {hardware!r} is not one of {', '.join(FITTING[board])}, which "
                         f"there is room for on {board}")
    for name, value, (low, high), unit in (("clock", clock_mhz, CLOCKS_MHZ, " MHz"),
                                           ("seed", seed, (0, (1 << 31) - 1), ""),
                                           ("baud", baud, BAUDS, "")):
        if not low <= value <= high:
            raise ValueError(f"{name} {value:g} is not in {low}..{high}{unit}")


def bitstream(hardware: str, folder: Path, *, board: str = "ulx3s", clock_mhz: float = CLOCK_MHZ,
              seed: int = 1, baud: int = BAUD, allow_slow: bool = False,
              progress: Progress = QUIET) -> Built:
    """Make a bitstream: LiteX, Yosys, nextpnr, ecppack. Write all of a folder, or nothing.

    What Yosys and nextpnr make is kept, so that a second call takes seconds, and another seed no
    second synthesis.

    Parameters
    ----------
    hardware : str
        The accelerator, a preset that the part has room for.
    folder : Path
        A new one.
    board : str
        Name of the board.
    clock_mhz : float
        Clock of the whole SoC, in 20..100 MHz.
    seed : int
        Where the placer begins.
    baud : int
        Bits per second of the UART.
    allow_slow : bool
        Write it even if its timing is not met.
    progress : Progress
        Is told of every stage.

    Raises
    ------
    ValueError
        Names the argument and what is allowed; or a tool or LiteX is not there; or the part is too
        small.
    ProgramError
        A tool failed; or timing is not met.
    OSError
        The folder cannot be written to.
    """
    check_bitstream(board, hardware, clock_mhz, seed, baud)
    check_new_folder(folder)
    check_litex()
    part, job = PARTS[BOARDS[board].part], nextpnr.Job(clock_mhz=clock_mhz, seed=seed)
    tools = {"litex": f"LiteX {version('litex')}, LiteDRAM {version('litedram')}",
             "yosys": yosys.executable()[1], "nextpnr": nextpnr.executable(part.router)[1],
             "ecppack": nextpnr.executable("ecppack", nextpnr.PACKER)[1]}
    script = yosys.netlist_script(part)
    with progress.bar("generating") as update:
        made = generate(Core(board=BOARDS[hardware]), clock_mhz, baud)
        update(description="synthesizing")
        netlist = cached("soc", [tools["yosys"], script, made.verilog], lambda: {
            "netlist": yosys.run(script, {"top.v": made.verilog}, "netlist.json")})["netlist"]

        def run() -> dict:
            report, config = nextpnr.configure(part, netlist, made.pins, job, update)
            return {"report": report, "config": config}

        routed = cached("routed-soc", [tools["nextpnr"], netlist, made.pins,
                                       *nextpnr.arguments(part, job, pins=True)], run)
        timing = timing_of(routed["report"], clock_mhz)
        if not timing.met and not allow_slow:
            raise ProgramError(
                f"{hardware} on {board} reaches {timing.fmax_mhz:.1f} MHz of {clock_mhz:g} "
                f"(seed {seed}): try another --seed or a lower --clock-mhz, or take it as it is by "
                "--allow-slow; nothing was written")
        update(description="packing the bitstream")
        contents = {BIT: nextpnr.pack(routed["config"]), "soc.v": made.verilog.encode(),
                    "soc.lpf": made.pins.encode(), "csr.csv": made.registers.encode(),
                    "report.json": json.dumps(routed["report"]).encode()}
    found = nextpnr.timing(routed["report"], "SoC")
    manifest = Bitstream(
        format="deltamoe-bitstream", version=1, board=board, part=part.name, tools=tools,
        seed=seed, timing=timing,
        utilization={name: Cells(**cells) for name, cells in found["utilization"].items()},
        netlist=sha256(netlist.encode()),
        files=tuple(File(name=name, bytes=len(data), sha256=sha256(data))
                    for name, data in contents.items()),
        soc=made.soc)
    write_folder(folder, {**contents, NAME: manifest.text()})
    return Built(folder, manifest, (found["path"]["from"], found["path"]["to"]))


def timing_of(report: dict, clock_mhz: float) -> Timing:
    """Return how fast the one clock of a report is."""
    found = nextpnr.timing(report, "SoC")
    slack = 1000 / clock_mhz - 1000 / found["fmax_mhz"]
    return Timing(fmax_mhz=found["fmax_mhz"], slack_ns=slack, critical_ns=found["path"]["ns"],
                  met=slack >= 0)

