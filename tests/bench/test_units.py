"""The stream units in Verilator: cocotb runs the same cases as Amaranth's simulator."""

from pathlib import Path

import pytest

from deltamoe.rtl.generate import to_verilog
from tests.bench.units import Units
from tests.support.verilator import run_bench


@pytest.mark.verilator
def test_units_match_golden(tmp_path: Path, seed: int) -> None:
    run_bench(to_verilog(Units(), "units"), "units", "tests.bench.bench_units", tmp_path,
              DELTAMOE_SEED=str(seed))
