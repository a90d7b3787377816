"""Calibration: known prices come back within the stated interval; bad measurements are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.experiments.calibration import (
    COLUMNS,
    IDLE,
    equations,
    fit,
    read,
    simulated,
    table,
    terms_of,
)
from deltamoe.experiments.points.point import Point
from deltamoe.sim.energy.estimate import energy
from deltamoe.sim.energy.table import find_table, parse
from deltamoe.sim.report.spans import Result
from tests.scripts.test_cli import run

TRUE = {"mac": 6.5, "dram": 120.0, "static": 0.4}
TERMS = list(TRUE)
WAITS = 0.25
NOISE = 1e-6  # W; digits on nano at 100 MHz takes some 20 mW above its static power
HEADER = [*COLUMNS, IDLE]


def frame(model: str, hardware: str, task: int, latency: int, interval: int) -> Result:
    """Simulate what a row of measurements is of."""
    return simulated(Point(model={"preset": model, "task": task}, hardware=hardware,
                           memory={"latency": latency, "interval": interval}))


def measured(noise: float, seed: int = 0, idle: bool = True) -> list[list]:
    """Invent measurements of digits on nano, at two bandwidths, with known prices."""
    rng, rows = np.random.default_rng(seed), []
    for interval in (1, 8):
        for task in (0, 1):
            result = frame("digits", "nano", task, 20, interval)
            counts = terms_of(result)
            for share in (0.25, 0.5, 0.75, 1.0):
                rate = share * 100e6 / result.cycles
                power = rate * 1e-12 * sum(TRUE[term] * counts[term] for term in ("mac", "dram"))
                power += TRUE["static"] * share + WAITS * (1 - share) if idle else TRUE["static"]
                rows.append(["digits", "nano", task, 20, interval, 100, 0.85, rate,
                             power + rng.normal(0, noise), WAITS if idle else ""])
    return rows


def write(path: Path, rows: list[list], header: list[str] = HEADER) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("idle", [True, False])
def test_without_noise_prices_are_exact(idle: bool, tmp_path: Path) -> None:
    rows = read(write(tmp_path / "m.csv", measured(0, idle=idle)))
    fitted = fit(*equations(rows, TERMS), TERMS)
    assert dict(fitted.values) == pytest.approx(TRUE, rel=1e-9)


@pytest.mark.parametrize("idle", [True, False])
def test_interval_holds_the_truth_as_often_as_it_says(idle: bool, tmp_path: Path,
                                                      seed: int) -> None:
    """95 % of 300 fits, give or take four deviations; and it says something."""
    rows = read(write(tmp_path / "m.csv", measured(0, idle=idle)))
    left, right = equations(rows, TERMS)
    rng, inside, left_over = np.random.default_rng(seed), dict.fromkeys(TERMS, 0), []
    for _ in range(300):
        fitted = fit(left, right + rng.normal(0, NOISE, len(right)), TERMS)
        left_over.append(fitted.residual_w**2)
        for term, value in TRUE.items():
            inside[term] += abs(fitted.values[term] - value) <= fitted.margins[term]
            assert fitted.margins[term] < 0.2 * value
    assert all(270 <= count <= 299 for count in inside.values())
    assert np.mean(left_over) == pytest.approx(NOISE**2, rel=0.1)


def test_no_price_is_negative(tmp_path: Path) -> None:
    left, right = equations(read(write(tmp_path / "m.csv", measured(0))), TERMS)
    fitted = fit(left, right - 5.0 * left[:, 1], TERMS)
    assert min(fitted.values.values()) >= 0
    lower = fit(left, right - 2 * TRUE["dram"] * left[:, 1], TERMS)
    assert lower.values["dram"] == 0


def test_table_predicts_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture) -> None:
    rows = measured(0)
    path, out = write(tmp_path / "m.csv", rows), tmp_path / "board.json"
    code, text, _ = run(monkeypatch, capsys, "calibrate", path, "--out", out, "--json", "-")
    assert code == 0
    assert json.loads(text)["terms"]["mac"]["value"] == pytest.approx(TRUE["mac"])
    costs = find_table(str(out))
    assert (costs.name, costs.kind) == ("board", "fpga")
    for row in rows:
        result = frame(*row[:5])
        rate = min(row[7], 100e6 / result.cycles)
        spent = energy(result, PRESETS["nano"], costs, 100, rate)
        assert spent.total.typical * rate * 1e-12 == pytest.approx(row[8], rel=1e-6)
        assert spent.total.low <= spent.total.typical <= spent.total.high
    code, _, _ = run(monkeypatch, capsys, "simulate", "digits", "--energy-table", out)
    assert code == 0


def test_table_without_idle_power_says_so(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "m.csv", measured(NOISE, idle=False)))
    parsed = parse("t", table(fit(*equations(rows, TERMS), TERMS), rows, "m.csv"))
    assert "device_idle" in parsed.gaps


GOOD = measured(NOISE)


def changed(column: str, value: object, line: int = 3) -> list[list]:
    rows = [list(row) for row in GOOD]
    rows[line - 2][HEADER.index(column)] = value
    return rows


def without(column: str) -> tuple[list[list], list[str]]:
    at = HEADER.index(column)
    return [row[:at] + row[at + 1 :] for row in GOOD], HEADER[:at] + HEADER[at + 1 :]


SAME = [GOOD[0]] * 8
BAD = {
    **{f"lacks column {column}": without(column) for column in COLUMNS},
    "unknown column 'watts'": ([[*row, 1] for row in GOOD], [*HEADER, "watts"]),
    "lacks column model": ([], []),
    "holds no measurement": ([], HEADER),
    "column power_w is there twice": ([[*row, 1] for row in GOOD], [*HEADER, "power_w"]),
    "line 2: more values than columns": ([[*row, 1] for row in GOOD], HEADER),
    "line 3: power_w nan is not above 0": (changed("power_w", "nan"), HEADER),
    "line 3: power_w -1 is not above 0": (changed("power_w", -1), HEADER),
    "line 3: idle_power_w 0 is not above 0": (changed(IDLE, 0), HEADER),
    "line 3: clock_mhz 'fast' is not a number": (changed("clock_mhz", "fast"), HEADER),
    "line 3: task '' is not a number": (changed("task", ""), HEADER),
    "line 3: latency -1 is not at least 0": (changed("latency", -1), HEADER),
    "line 3: model: 'nosuch' is not one of digits": (changed("model", "nosuch"), HEADER),
    "line 3: hardware: 'nosuch' is not one of nano": (changed("hardware", "nosuch"), HEADER),
    "line 3: model: task 2 is not in 0..1": (changed("task", 2), HEADER),
    "line 3: memory.latency: Input should be greater than or equal to 1, not 0": (
        changed("latency", 0), HEADER),
    "line 3: 1e+06 frames/s are more than": (changed("frames_per_s", 1e6), HEADER),
    "voltage_v takes the values": (changed("voltage_v", 0.72), HEADER),
    "3 measurements are too few for 3 terms": (GOOD[:3], HEADER),
    "do not tell mac from dram": (SAME, HEADER),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_measurements_are_one_line(message: str, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture) -> None:
    rows, header = BAD[message]
    path, out = write(tmp_path / "m.csv", rows, header), tmp_path / "t.json"
    code, text, err = run(monkeypatch, capsys, "calibrate", path, "--out", out)
    assert (code, text) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not out.exists()


@pytest.mark.parametrize(("words", "message"), [
    (["--terms", "mac,wire"], "'wire' is not one of mac, sram, dram, static"),
    (["--terms", "mac,mac"], "'mac' is not one of"),
])
def test_bad_terms(words: list[str], message: str, tmp_path: Path,
                   monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    path = write(tmp_path / "m.csv", GOOD)
    code, _, err = run(monkeypatch, capsys, "calibrate", path, "--out", tmp_path / "t", *words)
    assert code == 2
    assert message in err


def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                   capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    good = write(tmp_path / "m.csv", GOOD)
    for words in (["nosuch.csv", "--out", tmp_path / "t.json"],
                  [tmp_path / "image.csv", "--out", tmp_path / "t.json"],
                  [good, "--out", tmp_path / "nosuch" / "t.json"]):
        code, _, err = run(monkeypatch, capsys, "calibrate", *words)
        assert code == 2
        assert err.count("\n") == 1
