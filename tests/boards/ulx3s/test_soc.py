"""The SoC of ULX3S: what LiteX writes, and the digits through all of it, SDRAM included."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deltamoe
from deltamoe.boards import BOARDS
from deltamoe.boards.driver.device import Device, DeviceError
from deltamoe.boards.packages.core import Core
from deltamoe.boards.ulx3s import gateware, simulation
from deltamoe.boards.ulx3s.gateware import Gateware, check_litex, generate
from deltamoe.boards.ulx3s.simulation import Model, Simulated, build, times
from deltamoe.experiments.sdram import measured
from deltamoe.golden.config import MODELS
from deltamoe.golden.engines import integer_output
from deltamoe.golden.library import default_image, find, untrained
from deltamoe.host.processes import ProgramError
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from tests.boards.packages.cores import small

MHZ = 50.0


@pytest.fixture(scope="module")
def made() -> Gateware:
    return generate(small("nano"), MHZ, 1_000_000)


def ports(verilog: str) -> dict[str, int]:
    """Ports of module ``top``, and their widths."""
    head = verilog[verilog.index("module top") : verilog.index(");")]
    found = re.findall(r"(?:input|output|inout) +(?:wire|reg) +(?:\[(\d+):0\])? *(\w+)", head)
    return {name: int(high or 0) + 1 for high, name in found}


def test_every_port_has_a_pin_of_its_own(made: Gateware) -> None:
    sites = dict(re.findall(r'LOCATE COMP "([^"]+)" SITE "(\w+)"', made.pins))
    bits = {name if width == 1 else f"{name}[{bit}]"
            for name, width in ports(made.verilog).items() for bit in range(width)}
    assert sites.keys() == bits
    assert len({*sites.values()}) == len(sites)
    assert 'FREQUENCY PORT "clk25" 25.0 MHz' in made.pins


def test_the_driver_is_told_the_addresses(made: Gateware) -> None:
    soc, table = made.soc, made.registers
    assert (soc.registers.address, soc.registers.bytes) == (0x9000_0000, 4096)
    assert soc.memory.bytes == 32 << 20
    assert f"memory_region,main_ram,0x{soc.memory.address:08x},{soc.memory.bytes}" in table
    assert f"csr_register,ctrl_scratch,0x{soc.mark:08x}" in table
    modes = [step.value for before, step in zip(soc.wake, soc.wake[3:], strict=False)
             if step.value == 1 and soc.wake[soc.wake.index(before) + 2].value == 15]
    assert modes, "the mode register is never loaded"
    assert soc.wake[-1].value == 1, "the controller is not given SDRAM"
    assert soc.hardware.name == "nano"


def test_the_same_bytes_every_time(made: Gateware) -> None:
    """Also where Python orders sets otherwise."""
    code = ("from tests.boards.ulx3s.test_soc import generate, small, MHZ; import sys; "
            "made = generate(small('nano'), MHZ, 1_000_000); "
            "sys.stdout.write(made.verilog + made.pins + made.registers + "
            "made.soc.model_dump_json())")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": "7"},
                          capture_output=True, text=True, check=True)
    assert done.stdout == (made.verilog + made.pins + made.registers
                           + made.soc.model_dump_json())


def test_without_litex_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateware, "find_spec", lambda name: None if name == "litedram" else name)
    with pytest.raises(ValueError, match=r"no litedram: pip install 'deltamoe\[litex\]'$"):
        check_litex()


def test_a_clock_that_the_part_cannot_make_is_one_line() -> None:
    with pytest.raises(ProgramError, match=r"^LiteX failed: [^\n]+$"):
        generate(small("nano"), 1000, 1_000_000)


@pytest.fixture(scope="module")
def model() -> Model:
    return build(small("nano"), MHZ)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deltamoe.build("digits", "nano", tmp_path_factory.mktemp("built") / "digits").folder


@pytest.mark.slow  # the build takes minutes
@pytest.mark.verilator
def test_digits_run_through_uart_and_sdram(model: Model, digits: Path) -> None:
    """No bit differs; SDRAM obeys its data sheet, and gives 2 bytes in a cycle at most."""
    network = find("digits")
    pixels = default_image(network.quantized.config)
    expected, _ = integer_output(network, pixels, 0)
    with Simulated(model) as soc:
        device = Device(digits, soc)
        for _ in range(2):
            found = device.run(pixels.numpy())
            np.testing.assert_array_equal(found.tokens, expected.x)
            np.testing.assert_array_equal(found.scores, expected.scores)
        counters = device.counters()
        reads, writes = (measured(bursts, 8) for bursts in soc.bursts())
    assert reads["bytes"] == 2 * counters["bytes_read"]
    assert writes["bytes"] == 2 * counters["bytes_written"]
    assert 1.75 < reads["bytes_per_cycle"] <= 2
    assert 4 <= reads["interval"] < 4.5


@pytest.mark.slow  # the build takes minutes, the run one
@pytest.mark.verilator
def test_two_blocks_run_on_all_of_ulx3s(tmp_path: Path) -> None:
    """One of them with experts. No bit differs; the preset's memory is right within 4 %."""
    board = BOARDS["ulx3s"]
    network = untrained(replace(MODELS["m3vit-tiny-129"], name="blocks", num_layers=2))
    pixels = default_image(network.quantized.config)
    expected, trace = integer_output(network, pixels, 0)
    network.quantized.save(tmp_path / "blocks.safetensors")
    made = deltamoe.build(tmp_path / "blocks.safetensors", board.hardware, tmp_path / "blocks")
    program = compile_program(network.quantized, board.hardware)
    predicted = simulate(program, from_trace(trace, network.quantized.config), board.memory)
    with Simulated(build(Core(board=board), MHZ)) as soc:
        device = Device(made.folder, soc)
        np.testing.assert_array_equal(device.run(pixels.numpy()).tokens, expected.x)
        assert 1 <= device.counters()["cycles"] / predicted.cycles < 1.04


@pytest.mark.slow
@pytest.mark.verilator
def test_memory_keeps_its_bytes(model: Model, seed: int) -> None:
    """In every bank and many rows, and for the time of some refreshes."""
    rng = np.random.default_rng(seed)
    places = [*(4096 * rng.integers(0, 8192, 12)), 0, (32 << 20) - 512]
    with Simulated(model) as soc:
        kept = {int(place): rng.bytes(512) for place in places}
        for place, data in kept.items():
            soc.write_memory(place, data)
        soc.wait(1e-4)
        assert all(soc.read_memory(place, 512) == data for place, data in kept.items())


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize(("name", "cycles", "rule"), [
    ("T_RP", 8, "tRP"), ("T_RCD", 8, "tRCD"), ("T_RAS", 64, "tRAS"), ("T_RC", 64, "tRC"),
    ("T_RFC", 32, "tRFC"), ("T_WR", 32, "tWR"), ("REFRESHES", 1100, "refreshed too seldom")])
def test_a_slower_chip_is_noticed(model: Model, digits: Path, name: str, cycles: int,
                                  rule: str) -> None:
    """Each rule of the chip's model is one that the controller could break."""
    def use() -> None:
        with Simulated(model, {**times(MHZ), name: cycles}) as soc:
            Device(digits, soc).run(np.zeros((1, 8, 8), np.uint8))
            soc.wait(1e-2)

    with pytest.raises(DeviceError, match=f"the simulated SoC has ended: SDRAM, .*: *{rule}"):
        use()


@pytest.mark.slow
@pytest.mark.verilator
def test_sdram_that_nobody_woke_up_is_noticed(model: Model) -> None:
    asleep = Model(model.soc.model_copy(update={"wake": ()}), model.program)
    with Simulated(asleep) as soc, pytest.raises(DeviceError, match=r"SDRAM, .*not woken up"):
        soc.write_memory(0, bytes(8))


def test_times_are_whole_cycles_that_last_long_enough() -> None:
    for mhz in (40.0, 50.0, 60.0):
        for name, cycles in times(mhz).items():
            if name in simulation.NANOSECONDS:
                assert 1000 * (cycles - 1) / mhz < simulation.NANOSECONDS[name] <= (
                    1000 * cycles / mhz + 1e-6)
