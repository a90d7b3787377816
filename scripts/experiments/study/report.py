"""The report of a study: one HTML file without any other, and its pictures."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from deltamoe.experiments.points.foreign import ASSUMED
from deltamoe.experiments.points.outcome import Outcome
from deltamoe.experiments.points.subject import CALIBRATED_ON
from deltamoe.experiments.study import figures
from deltamoe.experiments.study.answer import answer
from deltamoe.experiments.study.spec import Study
from deltamoe.experiments.study.table import Units
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.host.files import write_all
from deltamoe.page import embed, png
from deltamoe.sim.energy.table import FIELDS, find_table
from deltamoe.sim.report.losses import CAUSES
from deltamoe.sim.work import ASSUMPTIONS, EXACT

STYLE = """body{font:15px/1.5 sans-serif;max-width:76em;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em;margin-bottom:.2em}h2{margin-top:1.8em;font-size:1.2em}
p.answer{font-size:1.1em;border-left:4px solid #0072B2;padding-left:.8em}
table{border-collapse:collapse;margin:.6em 0;font-size:.93em}
td,th{padding:.15em .5em;border-bottom:1px solid #ddd;
text-align:left;vertical-align:top}th{font-weight:600}td.n{text-align:right;white-space:nowrap}
.rtl{background:#d9ecf7}.model{background:#fbe9c8}.rtl,.model{padding:0 .4em;border-radius:3px}
td.n+td:nth-child(2){min-width:13em}img{max-width:100%;display:block}.wide{overflow-x:auto}small{color:#555}"""

PICTURES = ("roofline", "pareto", "energy", "layers", "stalls")
FILES = ("report.html", *(f"{name}.png" for name in PICTURES))

CLAIMS = {
    "rtl": "the present hardware executes it; the simulator that made these figures has not one "
           "cycle, byte or counter of difference to it",
    "model": "the present hardware does not execute it; the same simulator, told what is left to "
             "do, on assumptions that are listed below",
}


def cell(value: object) -> str:
    """Return a cell; a number to the right, a label of what executes in its color."""
    text = html.escape(str(value))
    if text in CLAIMS:
        return f'<td><span class="{text}">{text}</span></td>'
    number = re.fullmatch(r"\d[\d.,%()e+ -]*", text)
    return f'<td class="n">{text}</td>' if number else f"<td>{text}</td>"


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table."""
    top = "".join(f"<th>{html.escape(str(name))}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def mechanisms(study: Study) -> str:
    """Return the policies with their papers."""
    rows = {policy.label: (
        policy.label, policy.mechanism.family, policy.mechanism.executes, policy.mechanism.source,
        policy.mechanism.skips, policy.mechanism.differs,
        "; ".join(f"{name}={value:g}: {policy.mechanism.parameters[name].meaning}"
                  for name, value in policy.parameters.items()))
        for policy in study.policies if policy.name in MECHANISMS}
    return table(("policy", "family", "by", "source", "what may be left out",
                  "how it differs from the source", "parameters"),
                 rows.values())


def calibrated(study: Study) -> str:
    """Return what the policies that are driven by data were calibrated on."""
    driven = [policy.label for policy in study.policies if policy.mechanism.calibrated]
    kinds = ["trace"] * any(model.trace for model in study.models) + [
        ("generator" if source.generated else "file") if source.kind == "video" else source.kind
        for source in study.inputs] if driven else []
    return "".join(f"<p>Calibrated were {html.escape(', '.join(driven))} on {CALIBRATED_ON[kind]}"
                   f" ({kind}).</p>" for kind in dict.fromkeys(kinds))


def dimensions(values: Sequence, names: str) -> str:
    """Return the fields of configurations, one column each; those that are equal in one line."""
    configs = {value.label: asdict(value.config) for value in values}
    if not configs:
        return ""
    fields: Mapping[str, object] = next(iter(configs.values()))
    return table((names, *configs), ([field, *(
        f"{config[field]:,}" if type(config[field]) is int else config[field] or "none"
        for config in configs.values())] for field in fields if field != "name"))


def constants(study: Study) -> str:
    """Return the energy table with every entry's source."""
    body = find_table(study.energy_table)
    rows = ([name, *(entry[field] for field in FIELDS)] for name, entry in body.entries.items())
    return (f"<p>{html.escape(body.meaning)}. Of each image, energy from its start to its end; "
            "nothing of the time between images.</p>" + table(("entry", *FIELDS), rows)
            + "<p>Without a price:</p>" + bullets(
                f"{name}: {reason}" for name, reason in body.gaps.items()))


def sources(study: Study) -> str:
    """Return what the figures rest on."""
    memories = table(("memory", "latency, cycles", "beats", "clock, MHz"), (
        (memory.label, memory.latency, memory.pace,
         f"{memory.clock_mhz:g}" if memory.clock_mhz else "the hardware's")
        for memory in study.memory))
    clocks = table(("hardware", "clock", "because"), (
        (hardware.label, clock, clock.evidence.because)
        for hardware in study.hardware for clock in hardware.clocks()))
    return f"""<h2>Assumptions</h2>
{bullets(f"{name}: {claim}" for name, claim in CLAIMS.items())}
<p>A figure marked <span class="model">model</span> assumes, besides the hardware's own timing:</p>
{bullets([*ASSUMPTIONS, EXACT])}
<p>What is known of the data decides which experts and elements are used. A routing that is drawn
has experts whose popularity is log-normal with deviation 1 and tokens that do not resemble each
other, so it uses more experts than the networks with seeded weights do, whose tokens do.</p>
<p>No board has run this. Frames/s are clock over cycles, at the memory's clock where it has one and
else at the last of the hardware's. Each image starts when the one before has been written, unless
several are a batch, which is one image several times.</p>
<h2>Policies</h2>{mechanisms(study)}{calibrated(study)}
<h2>Models</h2>{dimensions([model for model in study.models if not model.trace], "dimension")}
{f"<p>{ASSUMED}</p>" if any(model.trace for model in study.models) else ""}
<h2>Hardware</h2>{dimensions(study.hardware, "parameter")}
<h2>Clocks</h2>{clocks}
<h2>Memory</h2>{memories}
<h2>Energy constants: table {html.escape(study.energy_table)}</h2>{constants(study)}"""


def chosen(outcomes: Sequence[Outcome]) -> list[int]:
    """Return the points whose layers are shown: fastest, its baseline, leanest, slowest."""
    numbers = range(len(outcomes))
    best = max(numbers, key=lambda number: outcomes[number].speedup)
    base = next(number for number in numbers
                if outcomes[number].label == outcomes[best].baseline)
    lean = min(numbers, key=lambda number: outcomes[number].energy_ratio)
    slow = min(numbers, key=lambda number: outcomes[number].speedup)
    return list(dict.fromkeys((base, best, lean, slow)))


def write(study: Study, outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write ``report.html`` and its pictures into ``folder``."""
    units = Units(outcomes)
    pictures = dict(zip(PICTURES, (
        figures.roofline(outcomes), figures.pareto(outcomes, units),
        figures.energies(outcomes, units), figures.layers(outcomes, chosen(outcomes)),
        figures.stalls(outcomes)), strict=True))
    numbered = list(enumerate(outcomes, 1))
    rows = [(number, *units.cells(outcome), outcome.bound_by, outcome.known)
            for number, outcome in numbered]
    parts = ["total", *(name for name in units.parts(outcomes[0]) if name != "total")]
    spent = [(number, outcome.label, outcome.executes, *(
        units.interval(units.parts(outcome)[name]) for name in parts))
        for number, outcome in numbered]
    images = {name: embed(figure) for name, figure in pictures.items()}
    question = html.escape(study.question)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{question}</title><style>{STYLE}</style></head>
<body><h1>{question}</h1><p class="answer">{html.escape(answer(study, outcomes))}</p>
<p><small>Speed-up and energy are against the point's baseline, which has the same value on all
other axes. MB pass the memory port for an image; busy is the share of all multipliers' cycles;
output is against that of dense inference: signal over noise, and the share of frames whose class is
the same where there are classes. Behind seeded weights, which were drawn and not trained, it says
little of what a trained network would lose. Bound by is what takes the largest share of the
multipliers' cycles: the multipliers themselves, the memory with the kind of most bytes, or a cause
of the table below.</small></p>
{table(("#", *units.head(), "bound by", "what is known of the data"), rows)}
<h2>Roofline</h2>{images["roofline"]}
<h2>Speed, energy and output</h2>{images["pareto"]}
<h2>Energy of an image by component, {units.energy}</h2>{images["energy"]}
{table(("#", "point", "by", *(name.replace("_", " ") for name in parts)), spent)}
<h2>Where the cycles go</h2>{images["layers"]}
<h2>What the multipliers did</h2><p>Share of all multipliers' cycles; a row is 100 %.</p>
{images["stalls"]}{table(("cause", "why no product was made"), CAUSES.items())}
{sources(study)}
</body></html>
"""
    folder.mkdir(parents=True, exist_ok=True)
    write_all({**{folder / f"{name}.png": png(figure, dpi=110, bbox_inches="tight")
                  for name, figure in pictures.items()}, folder / FILES[0]: page})
