"""One self-contained HTML page: where the cycles and the energy of a run went."""

import base64
import html
import io
from collections.abc import Mapping
from types import MappingProxyType

from matplotlib.figure import Figure

from deltamoe.rtl.config import HwConfig
from deltamoe.sim.energy.estimate import KINDS, Energy
from deltamoe.sim.report.spans import Result

# Okabe and Ito's palette, distinguishable with color blindness.
BLUE, ORANGE, GREEN, YELLOW, SKY, RED, GRAY = (
    "#0072B2", "#E69F00", "#009E73", "#F0E442", "#56B4E9", "#D55E00", "#999999")
UNITS = {"load": SKY, "compute": GRAY, "group": BLUE, "drain": ORANGE}


def png(figure: Figure, **options) -> bytes:
    """Return a figure as a PNG, the same bytes for the same figure and fonts.

    Parameters
    ----------
    figure : Figure
        What is drawn.
    **options
        Of :meth:`matplotlib.figure.Figure.savefig`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, **options)
    return buffer.getvalue()


def embed(figure: Figure) -> str:
    """Return a figure as an HTML image."""
    image = base64.b64encode(png(figure, dpi=110, bbox_inches="tight")).decode()
    return f'<img src="data:image/png;base64,{image}">'


def operators(result: Result, hw: HwConfig) -> dict[str, tuple[float, float, float]]:
    """Return the cycles that every operator adds, in three parts.

    Its multiplications / ``hw.mac_units``, its wait for program and weights, and the rest. Parts of
    an operator, as tiles of tokens are, count as one.
    """
    found: dict[str, tuple[float, float, float]] = {}
    for layer in result.layers:
        if layer.cycles > 1:
            least = layer.macs / hw.mac_units
            wait = layer.stalls["waits_loads"] + layer.stalls["waits_program"]
            parts = least, wait, max(0, layer.cycles - least - wait)
            name = str(layer.label)
            found[name] = tuple(map(sum, zip(found.get(name, (0, 0, 0)), parts, strict=True)))
    return found


def layers(result: Result, hw: HwConfig) -> Figure:
    """Cycles that every operator adds: what its multiplications need at least, and the rest."""
    shown = operators(result, hw)
    figure = Figure(figsize=(9, 0.21 * len(shown) + 1.2))
    axes = figure.subplots()
    ideal, waits, rest = ([parts[n] for parts in shown.values()] for n in range(3))
    names = list(shown)
    axes.barh(names, ideal, color=BLUE, label=f"multiplications / {hw.mac_units}")
    axes.barh(names, rest, left=ideal, color=ORANGE, label="fill, drain and stalls")
    axes.barh(names, waits, left=[sum(pair) for pair in zip(ideal, rest, strict=True)], color=RED,
              label="wait for program and weights")
    axes.invert_yaxis()
    axes.set_xlabel("cycles")
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def timeline(result: Result) -> Figure:
    """What each unit did when."""
    units = sorted({unit for span in result.spans for unit in span.units},
                   key=lambda unit: (list(UNITS).index(unit.kind), unit))
    figure = Figure(figsize=(11, 0.35 * len(units) + 1))
    axes = figure.subplots()
    for row, unit in enumerate(units):
        bars = [(span.start, span.end - span.start) for span in result.spans if unit in span.units]
        axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=UNITS[unit.kind], linewidth=0)
    axes.set_yticks(range(len(units)), map(str, units))
    axes.invert_yaxis()
    axes.set_xlim(0, result.cycles)
    axes.set_xlabel("cycle")
    return figure


def energies(spent: Energy) -> Figure:
    """Energy by component and kind, with the component's interval; without what costs nothing."""
    parts, kinds = spent.by_component(), spent.by(lambda part: (part.component, part.kind))
    names = sorted((name for name in parts if parts[name].high),
                   key=lambda name: -parts[name].typical)
    figure = Figure(figsize=(9, 0.28 * len(names) + 1))
    axes = figure.subplots()
    left = [0.0] * len(names)
    for kind, color in zip(KINDS, (GREEN, ORANGE, SKY, GRAY), strict=True):
        widths = [kinds[name, kind].typical / 1e6 if (name, kind) in kinds else 0
                  for name in names]
        if any(widths):
            axes.barh(names, widths, left=left, color=color, label=kind)
        left = [sum(pair) for pair in zip(left, widths, strict=True)]
    spread = [[(parts[name].typical - parts[name].low) / 1e6 for name in names],
              [(parts[name].high - parts[name].typical) / 1e6 for name in names]]
    axes.errorbar(left, names, xerr=spread, fmt="none", ecolor="black", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"energy of one image, µJ (table {spent.table.name}, "
                    f"{spent.clock_mhz:g} MHz; lines: low to high)")
    if names:
        axes.legend(loc="lower right")
    return figure


def page(title: str, rows: Mapping[str, str], result: Result, hw: HwConfig, spent: Energy,
         pictures: Mapping[str, Figure] = MappingProxyType({})) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
        Its heading.
    rows : Mapping of str to str
        The table at its top.
    result : Result
        A simulated image.
    hw : HwConfig
        What computed it.
    spent : Energy
        What it took.
    pictures : Mapping of str to Figure
        Further figures by their headings, below the table.
    """
    facts = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
                    for name, value in rows.items())
    shown = "".join(f"<h2>{html.escape(name)}</h2>{embed(figure)}"
                    for name, figure in pictures.items())
    gaps = "".join(f"<li>{html.escape(reason)}</li>" for reason in spent.table.gaps.values())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body{{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}}
th{{text-align:left;padding-right:2em;font-weight:normal}}img{{max-width:100%}}</style></head>
<body><h1>{html.escape(title)}</h1><table>{facts}</table>{shown}
<h2>Where the cycles went, by operator</h2>{embed(layers(result, hw))}
<h2>What each unit did when</h2>{embed(timeline(result))}
<h2>Where the energy went</h2>{embed(energies(spent))}
<p>{html.escape(spent.table.meaning)}. Not priced:</p><ul>{gaps}</ul>
</body></html>
"""
