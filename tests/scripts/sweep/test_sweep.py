"""A sweep's points and front depend on its spec alone: not on who computes, nor on who dies."""

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from deltamoe.boards import PRESETS
from deltamoe.boards.area.model import CAPACITY
from deltamoe.experiments.sweep.design import Design, evaluate
from deltamoe.experiments.sweep.record import Record
from deltamoe.experiments.sweep.search import search
from deltamoe.experiments.sweep.spec import Spec, load
from deltamoe.sim.memory import MemoryModel
from tests.scripts import test_cli

ROOT = Path(__file__).parents[3]
POINTS, STOP = 40, 21
"""Points of the spec; how many of them are finished before a stop."""

WITH = [sys.executable, "-m", "deltamoe", "sweep"]


class Inline:
    """Evaluates points here, last first."""

    seconds = 0.0

    def __init__(self, evaluated: Callable = evaluate) -> None:
        self.evaluated, self.calls = evaluated, 0

    def run(self, spec, points) -> Iterator[Design]:
        for point in reversed(points):
            self.calls += 1
            yield self.evaluated(spec, point)


def judged(path: Path, folder: Path, inline: Inline, **changes) -> list:
    spec = Spec.model_validate(yaml.safe_load(path.read_text()) | changes)
    folder.mkdir(exist_ok=True)
    return search(spec, Record(folder / "sweep.db", spec), inline, lambda done: None)[0]


def front(figures: dict) -> list:
    return figures["front"]


def run(*words: object) -> dict:
    """Run the command on its own and return its JSON."""
    done = subprocess.run([*WITH, *map(str, words), "--json", "-"], cwd=ROOT, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept(folder: Path) -> int:
    """Points in a sweep's record; opened to write, since a killed writer's journal is undone."""
    try:
        with sqlite3.connect(f"file:{folder}/sweep.db?mode=rw", uri=True) as record:
            return record.execute("SELECT count(*) FROM trials").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def children(pid: int) -> list[int]:
    return [int(word) for word in subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True,
        check=False).stdout.split()]


@contextmanager
def begun(folder: Path, *words: object, points: int) -> Iterator[subprocess.Popen]:
    """A sweep of which at least ``points`` points are finished, but not all."""
    process = subprocess.Popen([*WITH, *map(str, words), "--out", folder], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while kept(folder) < points:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The sweep, never interrupted, by one process."""
    from tests.scripts.sweep.conftest import SPEC

    folder = tmp_path_factory.mktemp("whole")
    (folder / "spec.yaml").write_text(SPEC)
    return run(folder / "spec.yaml", "--out", folder, "--workers", 1)


def test_front_is_what_no_other_beats(spec: Path, tmp_path: Path) -> None:
    """By the definition, over all points that keep the limits; and the figures are the tool's."""
    points = judged(spec, tmp_path / "out", Inline())
    assert len(points) == POINTS
    assert any(point.refused for point in points)
    fitting = [point for point in points if point.fits]
    cost = {id(p): (-p.figures["frames_per_s"], p.figures["energy_pj"],
                    p.figures["area_share"]) for p in fitting}
    for point in fitting:
        mine = cost[id(point)]
        beaten = any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
                     for other in cost.values())
        assert point.best != beaten
    assert sum(point.best for point in points) > 3
    assert not any(point.best and not point.fits for point in points)


def test_point_is_the_simulator_s(spec: Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture) -> None:
    read = load(spec)
    figures = evaluate(read, {"weight_rows": 1024}).figures
    code, out, _ = test_cli.run(monkeypatch, capsys, "simulate", "digits", "--json", "-")
    assert code == 0
    simulated = json.loads(out)
    assert figures["cycles"] == simulated["cycles"]
    assert figures["energy_pj"] == simulated["energy_pj"]["typical"]
    assert figures["frames_per_s"] == pytest.approx(100e6 / simulated["cycles"])
    assert figures["area_share"] == max(figures[name] / CAPACITY[name] for name in CAPACITY)
    assert read.point({}).hardware.config == PRESETS["nano"]
    slow = read.point({"lanes": 16, "latency": 7, "clock_mhz": 9})
    assert slow.memory_model == MemoryModel(latency=7, interval=2)
    assert slow.clock.mhz == 9


def test_limits_keep_designs_from_the_front(spec: Path, tmp_path: Path) -> None:
    free = judged(spec, tmp_path / "free", Inline())
    least = sorted(p.figures["frames_per_s"] for p in free if p.best)[-2]
    bound = judged(spec, tmp_path / "bound", Inline(), limits={"frames_per_s": least})
    assert {p.figures["frames_per_s"] >= least for p in bound if p.best} == {True}
    assert any(not p.refused and not p.fits for p in bound)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random", "grid"])
def test_same_seed_same_points(sampler: str, spec: Path, tmp_path: Path) -> None:
    """After a stop anywhere, too; what was finished is not evaluated again."""
    class StopError(Exception):
        pass

    def until(spec, values) -> Design:
        if stopped.calls > STOP:
            raise StopError
        return quick(spec, values)

    def quick(spec, values) -> Design:
        if values["groups"] == 3:
            return Design(values, refused="three")
        sums = {name: float(values["groups"] * values["banks"] + values["latency"])
                for name in ("energy_pj", "area_share", *CAPACITY)}
        return Design(values, {
            **sums, "frames_per_s": float(values["groups"] - values["banks"])})

    whole, stopped, again = Inline(quick), Inline(until), Inline(quick)
    expected = judged(spec, tmp_path / "a", whole, sampler=sampler)
    with pytest.raises(StopError):
        judged(spec, tmp_path / "b", stopped, sampler=sampler)
    assert judged(spec, tmp_path / "b", again, sampler=sampler) == expected
    assert again.calls == whole.calls - STOP
    other = judged(spec, tmp_path / "c", Inline(quick), sampler=sampler, seed=4)
    assert [point.values for point in other] != [point.values for point in expected]
    assert len({json.dumps(point.values) for point in expected}) == len(expected) == POINTS


def test_one_objective_has_one_best_value(spec: Path, tmp_path: Path) -> None:
    points = judged(spec, tmp_path / "out", Inline(), objectives=["cycles"], points=20)
    least = min(point.figures["cycles"] for point in points if point.fits)
    assert {point.figures["cycles"] for point in points if point.best} == {least}


def test_grid_ends_with_the_last_point(spec: Path, tmp_path: Path) -> None:
    def flat(spec, values) -> Design:
        return Design(values, refused="never")

    space = {"groups": [1, 2], "banks": [2, 4, 8]}
    for sampler in ("grid", "random"):
        points = judged(spec, tmp_path / sampler, Inline(flat), sampler=sampler, explore=space)
        assert len(points) == 6
        assert not any(point.best for point in points)


def test_sigkill_loses_nothing(spec: Path, tmp_path: Path, whole: dict) -> None:
    """Killed with its processes midway; these end, too; the front is as if nothing had been."""
    with begun(tmp_path, spec, "--workers", 2, points=12) as process:
        hands = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = kept(tmp_path)
    assert 12 <= done < POINTS
    resumed = run(spec, "--out", tmp_path)
    assert resumed["evaluated"] == POINTS - done
    assert front(resumed) == front(whole)
    assert resumed["refused"] == whole["refused"] > 0
    for pid in hands:
        assert not Path(f"/proc/{pid}/cmdline").exists() or b"deltamoe" not in Path(
            f"/proc/{pid}/cmdline").read_bytes()


def test_killed_process_is_one_line(spec: Path, tmp_path: Path, whole: dict) -> None:
    with begun(tmp_path, spec, "--workers", 2, points=5) as process:
        victim = next(pid for pid in children(process.pid)
                      if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 2
    assert out == ""
    assert err.startswith("error: a process that evaluated points died")
    assert err.count("\n") == 1
    assert front(run(spec, "--out", tmp_path)) == front(whole)


@contextmanager
def dask(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers, as an administrator starts them."""
    file = folder / "scheduler.json"
    words = [sys.executable, "-m", "dask"]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([*words, "scheduler", "--host", "127.0.0.1", "--port", "0",
                                 "--no-dashboard", "--scheduler-file", file], **quiet)]
    try:
        while not file.exists() or not file.read_text():
            assert started[0].poll() is None
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        started += [subprocess.Popen(
            [*words, "worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
             "--name", str(number)], **quiet) for number in range(2)]
        yield address, started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_cluster_with_a_killed_worker_is_the_same(spec: Path, tmp_path: Path, whole: dict) -> None:
    with dask(tmp_path) as (address, workers):
        with begun(tmp_path / "out", spec, "--cluster", address, points=10) as process:
            workers[0].kill()
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        resumed = run(spec, "--out", tmp_path / "out")
    assert resumed["evaluated"] == 0
    assert front(resumed) == front(whole)


def test_outputs(spec: Path, tmp_path: Path, whole: dict, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("deltamoe.api.sweeps.local", lambda count: Here())
    code, out, _ = test_cli.run(monkeypatch, capsys, "sweep", spec, "--out", tmp_path / "out",
                                "--csv", tmp_path / "points.csv")
    assert code == 0
    assert f"{POINTS} designs" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "points.csv").read_text())))
    assert len(rows) == POINTS
    best = sorted(float(row["frames_per_s"]) for row in rows if row["best"] == "1")
    assert best == sorted(row["figures"]["frames_per_s"] for row in front(whole))
    assert all((row["cycles"] == "") == bool(row["refused"]) for row in rows)
    assert (tmp_path / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")


class Here(Inline):
    """Workers in this process, as a context."""

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass
