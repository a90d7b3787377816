"""The whole accelerator, a memory that fails, and a right program after everything that failed."""

import subprocess
from pathlib import Path

import pytest

from rtl.accelerator import Accelerator
from rtl.config import PRESETS
from rtl.counters import COUNTERS
from rtl.generate import to_verilog
from rtl.memory.registers import COUNTERS_OFFSET, REGISTERS
from tests.bench.scripts import BUSY, DRAINING, Writer
from tests.bench.workloads import copies, digits, halt, network
from tests.support.verilator import build_harness

HW = PRESETS["nano"]
HARNESS = Path(__file__).with_name("faults.cpp")
DEFINES = {
    **{f"REG_{name.upper()}": register.offset for name, register in REGISTERS.items()},
    "REG_COUNTERS": COUNTERS_OFFSET, "COUNTERS": len(COUNTERS), "BUS_BYTES": HW.bus_bytes,
    "BURST_BEATS": HW.burst_beats, "OUTSTANDING": HW.outstanding,
    "STATUS_BUSY": BUSY, "STATUS_DRAINING": DRAINING,
}


@pytest.fixture(scope="module")
def harness() -> Path:
    return build_harness(to_verilog(Accelerator(HW), "deltamoe", assertions=True), HARNESS, DEFINES)


def play(harness: Path, cases: list[list[str]], folder: Path, seed: int) -> list[str]:
    """Run cases and return the lines that were printed; the last says that all were run."""
    script = folder / "script"
    script.write_text("\n".join(line for lines in cases for line in lines) + "\n")
    done = subprocess.run([harness, script, f"+verilator+seed+{1 + seed}",
                           "+verilator+rand+reset+2"], capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert said[-1].startswith("END"), said[-1]
    return said[:-1]


@pytest.fixture(scope="module")
def writer(harness: Path, tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """Programs and their counters after power-up."""
    loads = [halt(HW), network(HW), digits(HW), *(copies(HW, seed) for seed in range(3))]
    writer = Writer(HW, loads, tmp_path_factory.mktemp("cases"))
    said = play(harness, [writer.reference(load) for load in loads], writer.folder, 0)
    assert not any("FAIL" in line for line in said), said
    writer.fresh = {load.name: list(map(int, line.split()))
                    for load, line in zip(loads, said, strict=True)}
    return writer


@pytest.mark.verilator
@pytest.mark.parametrize("numbers", [
    range(1, 51), range(51, 101),
    *(pytest.param(range(start, start + 100), marks=pytest.mark.slow)
      for start in range(101, 1001, 100))], ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_a_right_program_is_right_after_anything(
        harness: Path, writer: Writer, numbers: range, tmp_path: Path, seed: int) -> None:
    cases = {number: writer.case(number, seed) for number in numbers}
    failed = play(harness, list(cases.values()), tmp_path, seed)
    if failed:
        number = int(failed[0].split()[1])
        print("\n".join(cases[number]))
    assert not failed
