"""Make ``scripts/experiments/studies/frame.png``: one frame of M3ViT on ``zcu102``, over time.

The simulator runs it; no weights are needed, since nothing is skipped and its routing is known.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from deltamoe import experiments
from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import QKV, Part
from deltamoe.host.files import write
from deltamoe.page import BLUE, GRAY, GREEN, ORANGE, RED, SKY, YELLOW, png
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.label import Label
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.report.spans import LOAD, Result

MODEL, HARDWARE, MEMORY = "m3vit-tiny-129", "zcu102", MemoryModel(100)
BINS = 260
"""Points along the time axis."""

EXPERTS = "experts"

KINDS = {
    "patches": (GRAY, {Part.PATCH}),
    "queries, keys, values, projection": (SKY, {*QKV, Part.PROJ}),
    "attention": (BLUE, {Part.ATTENTION}), "dense MLP": (GREEN, {Part.FC1, Part.FC2}),
    "gate": (RED, {Part.GATE}), EXPERTS: (ORANGE, set()),
}
"""Kinds of operators, their colors, and their parts."""


def kind(label: Label) -> str:
    """Return the kind of the operator that a descriptor is for."""
    operator = label.operator
    return EXPERTS if operator.expert is not None else next(
        name for name, (_, parts) in KINDS.items() if operator.part in parts)


def busy(spans: list[tuple[int, int]], edges: np.ndarray) -> np.ndarray:
    """Return in how many cycles of each bin the spans lie, overlapping ones counted each."""
    total = np.zeros(len(edges) - 1)
    for start, end in spans:
        first, last = np.searchsorted(edges, [start, end], "right") - 1
        for n in range(first, min(last, len(total) - 1) + 1):
            total[n] += min(end, edges[n + 1]) - max(start, edges[n])
    return total


def frame(result: Result) -> Figure:
    """Draw which operators keep the lane groups busy, and when memory is read, over the cycles."""
    hw = PRESETS[HARDWARE]
    edges = np.linspace(0, result.cycles, BINS + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1]
    spans: dict[str, list[tuple[int, int]]] = {name: [] for name in KINDS}
    loads = []
    for span in result.spans:
        groups = sum(unit.kind == "group" for unit in span.units)
        if groups:
            spans[kind(span.item)] += [(span.start, span.end)] * groups
        elif span.units == (LOAD,):
            loads.append((span.start, span.end))
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(5, 1))
    above.stackplot(middles, [100 * busy(work, edges) / (hw.groups * width)
                              for work in spans.values()], labels=list(KINDS),
                    colors=[color for color, _ in KINDS.values()], linewidth=0)
    above.set(ylim=(0, 100), xlim=(0, result.cycles), ylabel="busy lane groups, %",
              title=f"One frame of {MODEL} on {HARDWARE}: {result.cycles:,} cycles, "
                    f"{MODELS[MODEL].macs / result.cycles / hw.mac_units:.1%} of "
                    f"{hw.mac_units} multiplications a cycle")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center",
                  ncols=len(KINDS), fontsize=9, frameon=False)
    below.fill_between(middles, 100 * busy(loads, edges) / width, color=YELLOW, linewidth=0)
    below.set(ylim=(0, 100), xlabel="cycle", ylabel="loads, %")
    return figure


def run() -> Result:
    """Simulate the frame."""
    config = MODELS[MODEL]
    return simulate(compile_program(Outline(config), PRESETS[HARDWARE]), facts(config, 0), MEMORY)


if __name__ == "__main__":
    write(Path(experiments.__file__).with_name("studies") / "frame.png", png(frame(run()), dpi=110))
