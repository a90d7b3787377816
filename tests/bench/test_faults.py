"""The whole accelerator, a memory that fails, and a right program after everything that failed."""

import subprocess
from pathlib import Path

import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS
from deltamoe.rtl.program import ErrorCode
from tests.bench.scripts import (
    ALL,
    BUSY,
    DONE,
    DRAINING,
    ENDED,
    ERROR,
    IMPATIENCE,
    RESET,
    START,
    STATUS,
    Script,
    Writer,
)
from tests.bench.workloads import copies, digits, halt, network
from tests.support.verilator import accelerator, build_harness

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
    return build_harness(accelerator(HW), HARNESS, DEFINES)


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


def bad_settings_end_at_once(writer: Writer, script: Script) -> None:
    """Also while the bus owes answers, which a good start would wait for."""
    silence(writer, script)
    load = writer.draw("halt")
    writer.start(script, load, writer.base(load), program_length=0)
    script.add("await", 8)
    script.read("status", ERROR | DRAINING)
    script.read("error_code", ErrorCode.LENGTH)
    script.read("error_index", 0)
    script.add("calm")
    script.add("settled", 0x4000)
    script.read("error_code", ErrorCode.LENGTH)


def a_start_waits_for_the_bus(writer: Writer, script: Script) -> None:
    """Busy until it ends well, if the answers come before the watchdog expires."""
    silence(writer, script)
    load = writer.draw("copies")
    base = writer.base(load)
    writer.start(script, load, base)
    script.add("quiet", 3000)
    script.read("status", BUSY | DRAINING)
    script.add("calm")
    writer.succeeds(script, load, base)
    script.add("counters", *writer.fresh[load.name])


def a_reset_forgets_at_once(writer: Writer, script: Script) -> None:
    """While the bus still owes answers; a start may follow without another register."""
    load = writer.draw("network")
    base = writer.base(load)
    script.add("silent", "r", 40, 0)
    writer.start(script, load, base)
    script.add("wait", 300)
    script.read("status", BUSY)
    script.write("control", RESET)
    script.read("status", DRAINING)
    script.read("error_code", ErrorCode.NONE)
    script.add("counters", *[0] * len(COUNTERS))
    script.add("quiet", 100)
    script.write("control", START)
    script.add("quiet", 100)
    script.read("status", BUSY | DRAINING)
    script.add("calm")
    writer.succeeds(script, load, base)


def an_error_is_reported_behind_the_drain(writer: Writer, script: Script) -> None:
    """Until then the program is busy and a start is ignored."""
    load = writer.draw("network")
    script.add("answer", "r", 40, 2)
    script.add("silent", "r", 41, 0)
    writer.start(script, load, writer.base(load))
    script.add("quiet", 3000)
    script.read("status", BUSY | DRAINING)
    other = writer.draw("halt")
    writer.start(script, other, writer.base(other))
    script.add("quiet", 100)
    script.add("calm")
    writer.fails(script, ErrorCode.BUS, load.reads[40], status=ALL)
    script.add("wait", 1000)
    script.read("status", ERROR)


def an_end_is_kept_for_a_later_enable(writer: Writer, script: Script) -> None:
    """The interrupt is the end that was not cleared, while it is enabled."""
    load = writer.draw("halt")
    writer.start(script, load, writer.base(load), interrupt_enable=0)
    script.add("quiet", 500)
    script.read("status", DONE)
    script.read("interrupt_status", ENDED)
    script.write("interrupt_enable", ENDED)
    script.add("await", 8)
    script.write("interrupt_enable", 0)
    script.add("wait", 8)
    script.add("quiet", 20)
    script.write("interrupt_status", ENDED)
    script.write("interrupt_enable", ENDED)
    script.add("wait", 8)
    script.add("quiet", 20)
    script.read("interrupt_status", 0)
    script.read("status", DONE)


def a_reset_wins_over_a_start(writer: Writer, script: Script) -> None:
    """In one write, with nothing to be ended; the registers are kept for the next start."""
    load = writer.draw("copies")
    base = writer.base(load)
    script.add("poke", base, script.file(load.before))
    writer.configure(script, writer.settings(load, base))
    script.write("control", START | RESET)
    script.add("quiet", 2 * writer.cycles(load))
    script.read("status", 0)
    script.add("counters", *[0] * len(COUNTERS))
    script.write("control", START)
    writer.succeeds(script, load, base)
    script.add("counters", *writer.fresh[load.name])


def silence(writer: Writer, script: Script) -> None:
    """End a program by the watchdog, with the bus owing answers for ever."""
    load = writer.draw("network")
    script.add("silent", "r", 40, 0)
    writer.start(script, load, writer.base(load), watchdog=IMPATIENCE)
    writer.fails(script, ErrorCode.WATCHDOG, status=STATUS & ~DRAINING)


@pytest.mark.verilator
@pytest.mark.parametrize("claim", [
    bad_settings_end_at_once, a_start_waits_for_the_bus, a_reset_forgets_at_once,
    an_error_is_reported_behind_the_drain, an_end_is_kept_for_a_later_enable,
    a_reset_wins_over_a_start])
def test_the_registers_keep_their_contract(
        claim, harness: Path, writer: Writer, tmp_path: Path, seed: int) -> None:
    """The tables of :class:`deltamoe.rtl.control.registers.Registers`, and then a right program."""
    script = writer.begin(0, seed)
    claim(writer, script)
    writer.finish(script)
    assert not play(harness, [script.lines], tmp_path, seed), script.lines


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
