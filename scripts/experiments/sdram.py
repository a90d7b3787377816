"""Bandwidth and latency of SDRAM behind LiteDRAM's controller, measured in a simulated SoC."""

import numpy as np

from deltamoe.api.building import build as build_network
from deltamoe.api.progress import Progress
from deltamoe.boards import BOARDS
from deltamoe.boards.driver.device import Device
from deltamoe.boards.packages.core import Core
from deltamoe.boards.ulx3s.simulation import Bursts, Simulated, build
from deltamoe.golden.engines import integer_output
from deltamoe.golden.library import default_image, find
from deltamoe.host.processes import scratch
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.terminal import Table

MODEL, HARDWARE, CLOCK_MHZ = "digits", "nano", 50.0


def measured(bursts: Bursts, bus_bytes: int) -> dict:
    """Return what bursts in one direction say of the memory.

    ``latency`` is of bursts that wait for no other: of a read from address to first beat, of a
    write from last beat to answer. ``interval`` is from beat to beat of a burst.
    ``bytes_per_cycle`` counts all cycles in which a burst is under way.
    """
    before = np.concatenate([[-1], np.maximum.accumulate(bursts.last)[:-1]])
    alone = bursts.address > before
    reads = not bursts.answer.any()
    waits = bursts.first - bursts.address if reads else bursts.answer - bursts.last
    several = bursts.beats > 1
    spans = (bursts.last - bursts.first)[several] / (bursts.beats - 1)[several]
    ends = bursts.last if reads else bursts.answer
    begun = np.maximum(bursts.address, np.concatenate([[0], np.maximum.accumulate(ends)[:-1]]))
    busy = np.maximum(ends - begun, 0).sum()
    beats = int(bursts.beats.sum())
    return {"bursts": len(bursts.beats), "beats": beats, "bytes": beats * bus_bytes,
            "latency": {"least": int(waits[alone].min()), "median": float(np.median(waits[alone])),
                        "most": int(waits[alone].max())},
            "interval": float(np.average(spans, weights=(bursts.beats - 1)[several])),
            "bytes_per_cycle": beats * bus_bytes / int(busy)}


def sdram(progress: Progress) -> dict:
    """Run the digits on the simulated SoC, and compare bits and cycles.

    Raises
    ------
    ValueError
        LiteX or a tool is not there.
    ProgramError
        A tool failed.
    """
    board = BOARDS[HARDWARE]
    network = find(MODEL)
    pixels = default_image(network.quantized.config)
    expected, trace = integer_output(network, pixels, 0)
    with progress.bar("building the SoC (minutes, once) and running it") as update:
        model = build(Core(board=board), CLOCK_MHZ)
        update(description="running it")
        with scratch() as folder, Simulated(model) as soc:
            device = Device(build_network(MODEL, board.hardware, folder).folder, soc)
            found = device.run(pixels.numpy())
            cycles = device.counters()["cycles"]
            directions = dict(zip(("read", "write"), soc.bursts(), strict=True))
    made = {name: measured(bursts, board.hardware.bus_bytes)
            for name, bursts in directions.items()}
    memory = MemoryModel(round(made["read"]["latency"]["median"]), round(made["read"]["interval"]))
    program = compile_program(network.quantized, board.hardware)
    predicted = simulate(program, from_trace(trace, network.quantized.config), memory)
    return {"model": MODEL, "hardware": HARDWARE, "clock_mhz": CLOCK_MHZ, "cycles": cycles,
            "elements_differing": int((found.tokens != expected.x).sum()
                                      + (found.scores != expected.scores).sum()),
            **made, "as_a_model": {"latency": memory.latency, "interval": memory.interval,
                                   "cycles": predicted.cycles}}


def table(row: dict) -> Table:
    """Return what was measured."""
    model = row["as_a_model"]
    title = (f"SDRAM behind LiteDRAM, {row['model']} on {row['hardware']}: {row['cycles']:,} "
             f"cycles, {row['elements_differing']} elements differ; {model['cycles']:,} by the "
             f"simulator at latency {model['latency']}, interval {model['interval']}")
    found = Table("bursts", "bytes", "latency, least", "median", "most", "cycles of a beat",
                  "B/cycle", title=title)
    for name in ("read", "write"):
        each = row[name]
        found.add_row(f"{each['bursts']:,} {name}s", f"{each['bytes']:,}",
                      *(f"{each['latency'][which]:g}" for which in ("least", "median", "most")),
                      f"{each['interval']:.2f}", f"{each['bytes_per_cycle']:.2f}")
    return found
