"""A spec that is wrong is refused in one line that names the file, the place, what is allowed."""

from pathlib import Path

import pytest

from deltamoe.experiments.sweep.spec import SWEEPS, load
from tests.scripts import test_cli

BAD = {
    ("seed: 3", "sead: 3"): "spec.yaml: unknown key 'sead'; allowed are model, hardware",
    ("model: digits\n", ""): "spec.yaml: model: Field required",
    ("digits", "nosuch"): "spec.yaml: model: 'nosuch' is not one of digits, ",
    ("nano", "nosuch"): "spec.yaml: hardware: 'nosuch' is not one of nano, ",
    ("seed: 3", "seed: -3"): "spec.yaml: seed: Input should be greater than or equal to 0",
    ("seed: 3", "seed: x"): "spec.yaml: seed: Input should be a valid integer",
    ("model: digits", "model: {preset: digits, task: 2}"): (
        "spec.yaml: model: task 2 is not in 0..1"),
    ("model: digits", "model: {trace: t.safetensors}"): "spec.yaml: model: a trace has no routing",
    ("hardware: nano", "hardware: {preset: nano, lanes: 9}"): "spec.yaml: hardware: lanes=9 is not",
    (", bytes_per_cycle: 8}", "}"): "spec.yaml: memory: needs bytes_per_cycle",
    ("points: 40", "points: 0"): "spec.yaml: points: Input should be greater than or equal to 1",
    ("seed: 3", "sampler: best"): "spec.yaml: sampler: Input should be 'nsga2', 'tpe', 'random'",
    ("energy_pj,", "watts,"): "spec.yaml: objectives[1]: 'watts' is not one of frames_per_s, ",
    ("energy_pj,", "area_share,"): "spec.yaml: objectives: one is named twice",
    ("groups: [", "grups: ["): "spec.yaml: explore.grups: 'grups' is not one of groups, lanes",
    ("[8, 16]", "[8, 12]"): "spec.yaml: explore.lanes: lanes=12 is not 8, 16, 32 or 64",
    ("[8, 16]", "[8, true]"): "spec.yaml: explore.lanes: True is not of type int",
    ("[8, 16]", "[]"): "spec.yaml: explore.lanes: [] is neither a list of 1 to 4096 whole numbers",
    ("[8, 16]", "[8, x]"): "spec.yaml: explore.lanes: [8, 'x'] is neither a list of",
    ("[8, 16]", "8"): "spec.yaml: explore.lanes: 8 is neither a list of",
    ("[8, 16]", "[8, 8]"): "spec.yaml: explore.lanes: a value is named twice",
    ("high: 8, times", "high: 1, times"): "spec.yaml: explore.banks: low=2 exceeds high=1",
    ("times: 2}\n  weight", "time: 2}\n  weight"): (
        "spec.yaml: explore.banks: unknown key 'time'; allowed are low, high, step, times"),
    ("{low: 2, high: 8, times: 2}", "{high: 8, times: 2}"): (
        "spec.yaml: explore.banks: needs low and high"),
    ("step: 20", "step: 20, times: 2"): "spec.yaml: explore.latency: needs either step or times",
    ("latency: 20,", "latency: .nan,"): (
        "spec.yaml: memory.latency: Input should be a valid integer, not nan"),
    ("seed: 3", "limits: {lut: .nan}"): "spec.yaml: limits.lut: Input should be a finite number",
    ("seed: 3", "limits: {luts: 1}"): "spec.yaml: limits.luts: 'luts' is not one of ",
    ("seed: 3", "seed: [3"): "spec.yaml: not YAML: ",
}


@pytest.mark.parametrize(("old", "new"), BAD)
def test_wrong_spec_is_one_line(old: str, new: str, spec: Path, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture) -> None:
    text = spec.read_text()
    assert text.count(old) == 1
    spec.write_text(text.replace(old, new))
    code, out, err = test_cli.run(monkeypatch, capsys, "sweep", spec, "--out", spec.parent / "out")
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert BAD[old, new] in err
    assert not (spec.parent / "out").exists()


@pytest.mark.parametrize(("groups", "words"), [(24, 4), (16, 4), (20, 2), (6, 1), (2, 1)])
def test_as_many_words_are_read_together_as_groups_allow(groups: int, words: int) -> None:
    read = load(SWEEPS / "sweep-zcu102.yaml")
    for explored, expected in (({}, words), ({"read_words": 1}, 1)):
        point = read.point({"groups": groups, **explored})
        assert point.hardware.config.read_words == expected


def test_bundled_specs_are_right() -> None:
    found = sorted(SWEEPS.glob("*.yaml"))
    assert found
    for path in found:
        assert load(path).size >= load(path).points


def test_other_spec_in_the_same_folder_is_one_line(
        spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    small = spec.read_text().replace("points: 40", "points: 2").replace("generation: 10",
                                                                        "generation: 2")
    spec.write_text(small)
    words = ("sweep", spec, "--out", tmp_path / "out", "--workers", 1)
    assert test_cli.run(monkeypatch, capsys, *words)[0] == 0
    spec.write_text(small.replace("seed: 3", "seed: 4"))
    code, _, err = test_cli.run(monkeypatch, capsys, *words)
    assert code == 2
    assert "holds a sweep with seed=3, not 4; choose another --out" in err
    (tmp_path / "out" / "sweep.db").write_text("no database, but long enough to be one" * 9)
    code, _, err = test_cli.run(monkeypatch, capsys, *words)
    assert code == 2
    assert err.count("\n") == 1
    assert "not a record of a sweep" in err


def test_cluster_that_is_not_there_is_one_line(spec: Path, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("deltamoe.experiments.sweep.workers.PATIENCE", 1)
    code, _, err = test_cli.run(monkeypatch, capsys, "sweep", spec, "--out", tmp_path / "out",
                                "--cluster", "tcp://127.0.0.1:9")
    assert code == 2
    assert err.count("\n") == 1
    assert "cluster 'tcp://127.0.0.1:9'" in err
    assert not (tmp_path / "out").exists()
