"""Published networks on 1536 multipliers: no bit, no counter differs; the cycles keep the bar."""

import pytest

from deltamoe.boards import BOARDS, PRESETS
from deltamoe.experiments.benchmark import (
    FRAMES,
    HARDWARE,
    LARGER,
    MEMORY,
    checked,
    most_cycles,
    predicted,
)
from deltamoe.golden.config import MODELS
from deltamoe.sim.memory import MemoryModel


@pytest.mark.verilator
@pytest.mark.slow
@pytest.mark.xdist_group("zcu102")
@pytest.mark.parametrize(("name", "task"), [
    (name, task) for name in FRAMES for task in range(MODELS[name].num_tasks)])
def test_frame(name: str, task: int) -> None:
    result = checked(name, MEMORY, task=task)
    assert (result["elements_differing"], result["counters_differing"]) == (0, 0)
    assert result["cycles"] <= FRAMES[name]


@pytest.mark.verilator
@pytest.mark.slow
@pytest.mark.xdist_group("zcu102")
@pytest.mark.parametrize(("name", "task"), [
    (name, task) for name in LARGER for task in range(MODELS[name].num_tasks)])
def test_larger_frame(name: str, task: int) -> None:
    """In tiles of tokens, parts of sums and split heads."""
    result = checked(name, MEMORY, task=task)
    assert (result["elements_differing"], result["counters_differing"]) == (0, 0)
    assert result["cycles"] <= most_cycles(name)


@pytest.mark.verilator
@pytest.mark.slow
@pytest.mark.xdist_group("zcu102")
@pytest.mark.parametrize(("interval", "frames"), [(1, 2), (4, 1)])
def test_two_frames_and_a_slow_memory(interval: int, frames: int) -> None:
    result = checked("m3vit-tiny-129", MemoryModel(100, interval), frames)
    assert (result["elements_differing"], result["counters_differing"]) == (0, 0)


@pytest.mark.verilator
@pytest.mark.slow
@pytest.mark.parametrize("task", range(2))
def test_small_part(task: int) -> None:
    result = checked("m3vit-tiny-129", BOARDS["ulx3s"].memory, task=task, hardware="ulx3s")
    assert (result["elements_differing"], result["counters_differing"]) == (0, 0)


@pytest.mark.parametrize("name", FRAMES)
def test_predicted_speed_and_bytes(name: str) -> None:
    """At least 92 % of the multipliers' cycles, and nothing read that is not needed."""
    config, hw = MODELS[name], PRESETS[HARDWARE]
    result, needed = predicted(config, hw, MEMORY)
    assert result.cycles <= FRAMES[name]
    assert config.macs >= 0.92 * result.cycles * hw.mac_units
    assert needed <= result.counters["bytes_read"] <= 1.02 * needed


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_predicted_speed_of_larger_frames(name: str) -> None:
    """No more is read than the program loads, also where weights are loaded again."""
    for task in range(MODELS[name].num_tasks):
        result, needed = predicted(MODELS[name], PRESETS[HARDWARE], MEMORY, task=task)
        assert result.cycles <= most_cycles(name)
        assert needed <= result.counters["bytes_read"] <= 1.02 * needed
