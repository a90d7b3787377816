"""One layer with random events, in the simulator and in Verilog: what skipping gains."""

import numpy as np

from deltamoe.api.progress import Progress
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.one_layer import compile_layer
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Linear, Mode
from deltamoe.sim.facts import Facts
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.terminal import Table

ROWS = 64
FEW = 8
SHAPES = ((192, 192), (192, 768), (768, 192), (768, 768))
"""Elements and columns of the layers measured; M3ViT-tiny has the first three."""

MEMORY = MemoryModel(1)


def layer(hw: HwConfig, weight: np.ndarray, rows: int, mode: Mode) -> Program:
    """Return the program that multiplies ``rows`` rows by ``weight`` (columns, depth)."""
    return compile_layer(Linear(rows=rows, mode=mode, operand_signed=True), weight, hw)


def operands(density: float, depth: int, rng: np.random.Generator) -> np.ndarray:
    """Draw int8 rows of which ``density`` is not zero; below 0, every other row is full."""
    x = rng.integers(1, 8, (ROWS, depth)) * rng.choice([-1, 1], (ROWS, depth))
    chosen = rng.random((ROWS, depth)) < density if density > 0 else (
        np.arange(ROWS)[:, None] % 2 == 0)
    return np.where(chosen, x, 0).astype(np.int8)


def cycles(hw: HwConfig, weight: np.ndarray, x: np.ndarray | None) -> float:
    """Return the cycles of one more row, from 8 to 64 of them; ``x`` unless dense."""
    mode = Mode.DENSE if x is None else Mode.ZERO_SKIP
    ends = []
    for rows in (FEW, ROWS):
        facts = Facts({}, {} if x is None else {"layer": x[:rows]})
        counters = simulate(layer(hw, weight, rows, mode), facts, MEMORY).counters
        written = rows * len(weight) // hw.word
        ends.append(counters["compute_busy"] - written)
    return (ends[1] - ends[0]) / (ROWS - FEW)


def checked(hw: HwConfig, weight: np.ndarray, x: np.ndarray) -> dict[str, int]:
    """Run all rows in Verilog; return elements that differ from NumPy, counters from the model."""
    from deltamoe.boards.verilator import engine

    program = layer(hw, weight, ROWS, Mode.ZERO_SKIP)
    memory = program.with_bytes(x.view(np.uint8).reshape(-1))
    result = engine.run(program, memory, latency=MEMORY.latency)
    outputs = program.stored(result.memory).reshape(ROWS, -1)
    reference = (x.astype(np.int64) @ weight.T.astype(np.int64)).clip(-32768, 32767)
    expected = simulate(program, Facts({}, {"layer": x}), MEMORY).counters
    return {"elements_differing": int((outputs != reference).sum()), "counters_differing": sum(
        result.counters[name] != expected[name] for name in expected)}


def bound(hw: HwConfig, weight: np.ndarray) -> tuple[float, str]:
    """Return the fewest cycles of a row whatever is skipped, and what takes them."""
    columns, depth = weight.shape
    linear = next(descriptor for descriptor in layer(hw, weight, 1, Mode.ZERO_SKIP).descriptors
                  if isinstance(descriptor, Linear))
    together = hw.read_words if linear.wide else 1
    read, drained = depth / hw.word / together, columns / hw.word
    return (drained, "post-processing") if drained >= read else (read, "reading operands")


def table(rows: list[dict]) -> Table:
    """Return the speed-ups as a table."""
    speedups = Table("layer", "density", "cycles a row", "speed-up", "of the ideal", "bound", "RTL",
                     title="Random events: one more row of 64")
    for row in rows:
        rtl = row.get("rtl")
        speedups.add_row(
            f"{row['depth']} x {row['columns']}",
            "half of the rows" if row["uneven"] else f"{row['density']:.0%}",
            f"{row['cycles']:.1f}", f"{row['speedup']:.2f}", f"{row['of_ideal']:.0%}",
            f"{row['bound']:.1f} by {row['bound_by']}" if row["bound"] else "",
            f"{sum(rtl.values())} differ" if rtl else "")
    return speedups


def measured(hw: HwConfig, rtl: bool, progress: Progress) -> list[dict]:
    """Return speed-ups over dense, as shares of the ideal one, for each shape and density."""
    rng, points = np.random.default_rng(0), []
    for depth, columns in progress.each(SHAPES, "sparsity"):
        weight = rng.integers(-3, 4, (columns, depth)).astype(np.int8)
        dense = cycles(hw, weight, None)
        least, limit = bound(hw, weight)
        for density in (0.5, 0.25, 0.1, -0.5):
            x = operands(density, depth, rng)
            share = float((x[FEW:] != 0).mean())
            taken = cycles(hw, weight, x)
            row = {"depth": depth, "columns": columns,
                   "density": share, "uneven": density < 0, "dense_cycles": dense,
                   "cycles": taken, "speedup": dense / taken, "of_ideal": dense * share / taken,
                   "bound": dense / least if dense * share < least else None, "bound_by": limit}
            if rtl:
                row |= {"rtl": checked(hw, weight, x)}
            points.append(row)
    return points
