"""``deltamoe route``: how fast the clock of a unit may be, placed and routed on its part."""

import inspect
from collections.abc import Callable
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from boards import nextpnr, yosys
from boards.frame import Frame
from boards.parts import PARTS, Part
from boards.units import UNITS
from rtl.config import HwConfig
from rtl.generate import to_verilog
from scripts.cached import cached
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.lookup import hardware
from scripts.terminal import Table

MEASURED = ("The unit is alone on the part, each of its ports in a register beside it: all paths "
            "that begin and end in registers of the unit or at its ports count. The rest of the "
            "accelerator is not there.")


def measure(hw: HwConfig, part: Part, name: str, job: nextpnr.Job,
            stage: Callable[[str], None]) -> dict:
    """Return how fast the unit of this name is on ``part``, its critical path and its cells."""
    kind = UNITS[name]
    text = to_verilog(Frame(kind(hw) if inspect.signature(kind).parameters else kind()), "top")

    def run() -> dict:
        stage("synthesizing")
        netlist = yosys.run(yosys.netlist_script(part), {"top.v": text}, "netlist.json")
        return nextpnr.timing(nextpnr.route(part, netlist, job, stage), name)

    tools = {"yosys": yosys.executable()[1], "nextpnr": nextpnr.executable(part.router)[1]}
    made = cached("route", [*tools.values(), yosys.netlist_script(part), text,
                            *nextpnr.arguments(part, job)], run)
    return {"hardware": hw.name, "part": part.name, "unit": name, "measured": MEASURED, **tools,
            "seed": job.seed, "clock_mhz": job.clock_mhz, **made}


def show(made: dict) -> None:
    """Print the clock, the critical path and the cells."""
    path = made["path"]
    table = Table(title=f"{made['unit']} of {made['hardware']} on {made['part']}: "
                        f"{made['fmax_mhz']:.1f} MHz, critical path of {path['ns']:.1f} ns, "
                        f"{path['routing_ns']:.1f} ns of it wires")
    table.add_column("unit on the way")
    table.add_column("ns", justify="right")
    for step in path["units"]:
        table.add_row(step["unit"], f"{step['ns']:.1f}")
    console.print(table)
    console.print(f"from {path['from']}\nto {path['to']}", highlight=False, soft_wrap=True)
    console.print(", ".join(f"{cells['used']:,} of {cells['available']:,} {name}"
                            for name, cells in made["utilization"].items()))
    console.print(MEASURED)
    console.print(f"{made['yosys']}; {made['nextpnr']}; seed {made['seed']}, aimed at "
                  f"{made['clock_mhz']:g} MHz", highlight=False)


@app.command()
@command
def route(
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "ulx3s",
    target: Annotated[str, typer.Option(help="Family of the part: ecp5.")] = "ecp5",
    unit: Annotated[str, typer.Option(help="Unit, with all that is in it.")] = "ComputeUnit",
    clock: Annotated[float, typer.Option(help="Clock to aim at, in MHz.")] = 60,
    seed: Annotated[int, typer.Option(help="Where the placer begins.")] = 1,
    json: JsonFile = None,
) -> None:
    """Place and route a unit with nextpnr: its fastest clock (many minutes for the largest)."""
    hw = hardware(hardware_name)
    routed = [name for name, part in PARTS.items() if part.router]
    if target not in routed:
        raise ValueError(f"target {target!r} is not one of {', '.join(routed)}")
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is not one of {', '.join(UNITS)}")
    if not 1 <= clock <= 1000:
        raise ValueError(f"clock {clock:g} is not in 1..1000 MHz")
    if not 0 <= seed < 1 << 31:
        raise ValueError(f"seed {seed} is not in 0..{(1 << 31) - 1}")
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                  console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("generating", total=None)
        made = measure(hw, PARTS[target], unit, nextpnr.Job(clock_mhz=clock, seed=seed),
                       lambda what: progress.update(bar, description=what))
    if not emit(made, json):
        show(made)
