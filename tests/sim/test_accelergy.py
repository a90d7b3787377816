"""Export to Accelergy: its format, its names, its total.

Accelergy is on no package index, so its arithmetic is done here by its rule: each component's
counts times the energies of its table (``energy_calculator.py`` of Accelergy 0.4). Where the
command is installed, it is run too.
"""

import re
import shutil
import subprocess

import pytest
import yaml

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.sim.energy.accelergy import export
from deltamoe.sim.energy.estimate import Energy, energy
from deltamoe.sim.energy.table import tables
from deltamoe.sim.machine import simulate
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.report.spans import Result

ACTIONS = re.compile("(random|gated|skipped)_(read|fill|update|compute)|leak|refresh|idle")


def run(table: str, fps: float) -> tuple[Result, Energy]:
    config, hw = MODELS["digits"], PRESETS["nano"]
    result = simulate(compile_program(Outline(config), hw), facts(config, 0))
    return result, energy(result, hw, tables()[table], 100, fps)


@pytest.mark.parametrize("fps", [0, 30])
@pytest.mark.parametrize("table", tables())
def test_counts_times_table_is_the_total(table: str, fps: float) -> None:
    result, spent = run(table, fps)
    texts = export(result, spent)
    assert list(texts) == ["ERT.yaml", "action_counts.yaml"]
    ert, counts = (yaml.safe_load(text) for text in texts.values())
    assert ert.keys() == {"ERT"}
    assert counts.keys() == {"action_counts"}
    ert, counts = ert["ERT"], counts["action_counts"]
    assert ert["version"] == counts["version"] == 0.4
    prices = {entry["name"]: {action["name"]: action["energy"] for action in entry["actions"]
                              if action["arguments"] == {}} for entry in ert["tables"]}
    total = 0.0
    for component in counts["local"]:
        assert component["name"].startswith("deltamoe.")
        for action in component["action_counts"]:
            assert ACTIONS.fullmatch(action["name"])
            assert type(action["counts"]) in (int, float)
            assert type(prices[component["name"]][action["name"]]) is float
            total += action["counts"] * prices[component["name"]][action["name"]]
    assert total == pytest.approx(spent.total.typical, rel=1e-9)
    assert len(prices) == len(ert["tables"]) == len(counts["local"])
    kinds = {action["name"] for entry in ert["tables"] for action in entry["actions"]}
    assert {"random_compute", "gated_compute", "random_read", "leak", "refresh"} <= kinds
    assert ("idle" in kinds) == (fps > 0)


def test_every_action_is_there() -> None:
    """What costs nothing is counted too: it is what a sparse design is judged by."""
    result, spent = run("fpga", 0)
    counts = yaml.safe_load(export(result, spent)["action_counts.yaml"])["action_counts"]["local"]
    listed = {(component["name"].removeprefix("deltamoe."), action["name"]): action["counts"]
              for component in counts for action in component["action_counts"]}
    for act in result.acts:
        assert listed[act.component, act.action] == sum(
            count for other, count in result.acts.items()
            if (other.component, other.action) == (act.component, act.action))


@pytest.mark.skipif(not shutil.which("accelergy"), reason="Accelergy is on no package index")
def test_accelergy_itself(tmp_path) -> None:
    result, spent = run("asic_28nm", 30)
    for name, text in export(result, spent).items():
        (tmp_path / name).write_text(text)
    subprocess.run(["accelergy", "-f", "energy_estimation", "-o", "out", "ERT.yaml",
                    "action_counts.yaml"], cwd=tmp_path, check=True, capture_output=True)
    estimate = yaml.safe_load((tmp_path / "out/energy_estimation.yaml").read_text())
    assert estimate["energy_estimation"]["Total"] == pytest.approx(spent.total.typical, rel=1e-6)
