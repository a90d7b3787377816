"""Energy reference table and action counts as Accelergy 0.4 reads them.

``accelergy -f energy_estimation -o FOLDER ERT.yaml action_counts.yaml`` needs no other file and
gives the typical total. Accelergy knows neither intervals nor layers: both are summed away.
"""

from collections import Counter

import yaml

from deltamoe.sim.energy.estimate import Energy
from deltamoe.sim.energy.table import entry_of
from deltamoe.sim.report.spans import Result

VERSION = 0.4
ROOT = "deltamoe"
FILES = ("ERT.yaml", "action_counts.yaml")
LEAKS = {"static": "leak", "refresh": "refresh", "idle": "idle"}
"""Actions of each component for each cycle of the run, by kind; idle cycles count as such."""


def actions(result: Result, spent: Energy) -> dict[tuple[str, str], tuple[float, float]]:
    """Return count and pJ of every action by component and name, those that are free too."""
    counts, priced = Counter(), {}
    for act, count in result.acts.items():
        entry = entry_of(act)
        counts[act.component, act.action] += count
        priced[act.component, act.action] = spent.table.price(entry).typical if entry else 0.0
    listed = {name: (count, priced[name]) for name, count in counts.items()}
    idle = spent.clock_mhz * 1e6 / spent.fps - result.cycles if spent.fps else 0.0
    for (component, kind), part in spent.by(lambda part: (part.component, part.kind)).items():
        if kind in LEAKS:
            cycles = idle if kind == "idle" else result.cycles
            listed[component, LEAKS[kind]] = (cycles, part.typical / cycles)
    return listed


def export(result: Result, spent: Energy) -> dict[str, str]:
    """Return the text of both files by their names."""
    tables: dict[str, list[dict]] = {}
    local: dict[str, list[dict]] = {}
    for (component, action), (count, price) in sorted(actions(result, spent).items()):
        name = f"{ROOT}.{component}"
        tables.setdefault(name, []).append({"name": action, "arguments": {}, "energy": price})
        local.setdefault(name, []).append({"name": action, "counts": count})
    ert = {"ERT": {"version": VERSION, "tables": [
        {"name": name, "actions": listed} for name, listed in tables.items()]}}
    counted = {"action_counts": {"version": VERSION, "local": [
        {"name": name, "action_counts": listed} for name, listed in local.items()]}}
    return dict(zip(FILES, (yaml.safe_dump(body, sort_keys=False) for body in (ert, counted)),
                    strict=True))
