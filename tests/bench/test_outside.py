"""Faults on somebody else's memory, bus and processor."""

from pathlib import Path

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from tests.bench.workloads import network
from tests.support.verilator import accelerator, run_bench

HW = PRESETS["nano"]


@pytest.mark.verilator
@pytest.mark.parametrize("cases", [6, pytest.param(120, marks=pytest.mark.slow)])
def test_a_right_program_is_right_after_faults(cases: int, tmp_path: Path, seed: int) -> None:
    load, case = network(HW), tmp_path / "case.npz"
    np.savez(case, before=np.frombuffer(load.before, np.uint8),
             after=np.frombuffer(load.after, np.uint8), length=len(load.descriptors),
             reads=len(load.reads), writes=load.stored)
    run_bench(accelerator(HW), "deltamoe",
              "tests.bench.bench_faults", tmp_path, DELTAMOE_CASE=str(case),
              DELTAMOE_SEED=str(seed), DELTAMOE_CASES=str(cases))
