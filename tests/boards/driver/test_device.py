"""A network through manifest and driver on the Verilated model, and after everything that fails."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deltamoe
from deltamoe.api.building import Build
from deltamoe.boards import PRESETS
from deltamoe.boards.driver.device import (
    AcceleratorError,
    Backend,
    Device,
    DeviceError,
    DeviceTimeoutError,
    Outputs,
)
from deltamoe.boards.driver.manifest import Manifest, Use
from deltamoe.boards.verilator.board import Verilated
from deltamoe.golden.engines import Output
from deltamoe.rtl.control.register_map import MAGIC, REGISTERS, register_map
from deltamoe.rtl.program import DESCRIPTOR_BYTES, ErrorCode

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.verilator, pytest.mark.xdist_group("driver")]

SHORT = 20e-6
"""Seconds of a time-out that a right program exceeds: at 100 MHz 2,000 cycles of 23,000."""


def same(found: Outputs, golden: Output) -> bool:
    """Whether no bit differs."""
    return (found.tokens.dtype == golden.x.dtype and np.array_equal(found.tokens, golden.x)
            and np.array_equal(found.scores, golden.scores))


def test_no_bit_differs(built: Build, backend: Backend, pixels: np.ndarray, golden: Output) -> None:
    """Nor in the second run; and another picture gives other bits."""
    device = deltamoe.Device(built.folder, backend)
    for _ in range(2):
        found = device.run(pixels)
        assert same(found, golden)
        assert found.predicted == golden.predicted
    assert not same(device.run(255 - pixels), golden)


def test_counters_are_the_simulator_s(built: Build, pixels: np.ndarray) -> None:
    """At address 0, where bursts are cut as there."""
    with Verilated("nano", built.manifest.memory.bytes) as model:
        device = Device(built.folder, model)
        device.run(pixels)
        assert device.counters() == dict(deltamoe.simulate("digits", "nano").result.counters)


def test_what_a_killed_process_left_is_ended(built: Build, model: Verilated, backend: Backend,
                                             pixels: np.ndarray, golden: Output) -> None:
    """Its program runs, on the memory that is about to be filled."""
    left = Device(built.folder, backend)
    left.write_input(255 - pixels)
    left.start()
    status = REGISTERS["status"].offset
    assert model.read_register(status) & REGISTERS["status"].mask("busy")
    device = Device(built.folder, backend)
    assert model.read_register(status) == 0
    assert same(device.run(pixels), golden)


def test_a_second_start_is_refused(built: Build, backend: Backend, pixels: np.ndarray,
                                   golden: Output) -> None:
    device = Device(built.folder, backend)
    device.write_input(pixels)
    device.start()
    with pytest.raises(DeviceError, match="a program runs"):
        device.start()
    device.wait()
    assert same(device.read_outputs(), golden)


def test_pixels_lie_as_the_compiler_says(built: Build, colored: Manifest, model: Verilated,
                                         coded: tuple[np.ndarray, bytes]) -> None:
    """Several channels, rows and columns of patches, and what is left of words and beats."""
    device, (pixels, expected) = Device(built.folder, model), coded
    device.manifest = colored
    model.write_memory(colored.input.address, b"\xff" * (len(expected) + 1))
    device.write_input(pixels)
    found = model.read_memory(colored.input.address, len(expected) + 1)
    assert found == expected + b"\xff"


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 9), (3, 8, 8)])
def test_pixels_of_another_shape_are_refused(built: Build, model: Verilated, shape) -> None:
    device = Device(built.folder, model)
    with pytest.raises(ValueError, match=r"the network takes uint8 \(1, 8, 8\)"):
        device.run(np.zeros(shape, np.uint8))


def test_silent_memory_is_a_timeout(built: Build, model: Verilated, backend: Backend,
                                    pixels: np.ndarray, golden: Output) -> None:
    """Until it answers again no reset is complete."""
    device = Device(built.folder, backend)
    model.silence(True)
    with pytest.raises(DeviceTimeoutError, match="has not ended after 2e-05 seconds"):
        device.run(pixels, SHORT)
    with pytest.raises(DeviceTimeoutError, match="has not answered"):
        device.reset(SHORT)
    model.silence(False)
    device.reset()
    assert same(device.run(pixels), golden)


def test_a_slow_program_goes_on_after_a_timeout(built: Build, backend: Backend, pixels: np.ndarray,
                                                golden: Output) -> None:
    device = Device(built.folder, backend)
    with pytest.raises(DeviceTimeoutError):
        device.run(pixels, SHORT)
    device.wait()
    assert same(device.read_outputs(), golden)


def test_an_error_of_memory_is_told(built: Build, model: Verilated, backend: Backend,
                                    pixels: np.ndarray, golden: Output) -> None:
    """Of the descriptor that meets it: the load of the input."""
    device, name = Device(built.folder, backend), "image.load"
    model.fail(built.manifest.input.address)
    with pytest.raises(AcceleratorError, match=rf"\({name}\): BUS, the memory") as failed:
        device.run(pixels)
    assert failed.value.code == ErrorCode.BUS
    assert failed.value.index == built.manifest.descriptors.index(name)
    assert failed.value.descriptor == name
    model.fail(None)
    device.reset()
    assert same(device.run(pixels), golden)


@pytest.mark.parametrize("reset", [True, False])
def test_a_broken_program_is_told(built: Build, model: Verilated, backend: Backend,
                                  pixels: np.ndarray, golden: Output, reset: bool) -> None:
    """It runs again once it is loaded anew, with or without a reset."""
    device = Device(built.folder, backend)
    index = built.manifest.descriptors.index("patch")
    program, = (part for part in built.manifest.memory.regions if part.use == Use.PROGRAM)
    model.write_memory(program.address + DESCRIPTOR_BYTES * index, b"\xff")
    with pytest.raises(AcceleratorError, match=rf"at descriptor {index} \(patch\)"):
        device.run(pixels)
    if reset:
        device.reset()
    device.load()
    assert same(device.run(pixels), golden)


def test_the_watchdog_is_told(built: Build, model: Verilated, backend: Backend, pixels: np.ndarray,
                              golden: Output) -> None:
    device = Device(built.folder, backend)
    patience = REGISTERS["watchdog"].offset
    writes = tuple(write if write.offset != patience else write.model_copy(update={"value": 1000})
                   for write in device.control.start)
    patient = device.control
    device.control = patient.model_copy(update={"start": writes})
    model.silence(True)
    with pytest.raises(AcceleratorError, match="WATCHDOG") as failed:
        device.run(pixels)
    assert failed.value.code == ErrorCode.WATCHDOG
    device.control = patient
    model.silence(False)
    device.reset()
    assert same(device.run(pixels), golden)


def test_a_program_for_other_hardware_is_refused(folder: Path, model: Verilated) -> None:
    """By the hash of the geometry; what changes no program is no part of it."""
    other = replace(PRESETS["nano"], name="other", weight_rows=2 * PRESETS["nano"].weight_rows)
    wrong = deltamoe.build("digits", other, folder / "other")
    with pytest.raises(DeviceError, match="was built for other, and the accelerator has another"):
        Device(wrong.folder, model)
    same = replace(PRESETS["nano"], name="named", burst_beats=32, outstanding=4)
    Device(deltamoe.build("digits", same, folder / "named").folder, model)


IDENTITY = {
    "magic": "there is no accelerator",
    "version": "the accelerator's registers are of another version",
    "configuration": "the program was built for nano, and the accelerator has another geometry",
}


@pytest.mark.parametrize("name", IDENTITY)
def test_another_accelerator_is_refused(built: Build, backend: Backend, name: str,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, and before anything else of it is read or written."""
    read, seen = backend.read_register, []
    right = register_map(PRESETS["nano"])[name].reset

    def strange(offset: int) -> int:
        seen.append(offset)
        return read(offset) ^ (offset == REGISTERS[name].offset)

    monkeypatch.setattr(backend, "read_register", strange)
    for forbidden in ("write_register", "read_memory", "write_memory"):
        monkeypatch.setattr(backend, forbidden, None)
    with pytest.raises(DeviceError) as refused:
        Device(built.folder, backend)
    assert str(refused.value) == (
        f"register {name} reads {right ^ 1:#010x}, not {right:#010x}: {IDENTITY[name]}")
    known = list(IDENTITY)
    assert seen == [REGISTERS[each].offset for each in known[: known.index(name) + 1]]


def test_registers_are_read_field_by_field(built: Build, model: Verilated, pixels: np.ndarray,
                                           ) -> None:
    """After a run that was waited for, its interrupt is taken."""
    device, hw = Device(built.folder, model), PRESETS["nano"]
    device.run(pixels)
    found = device.registers()
    assert found.keys() == {name for name in REGISTERS if name != "control"}
    assert found["status"] == {"busy": 0, "done": 1, "error": 0, "draining": 0}
    assert (found["interrupt_enable"], found["interrupt_status"]) == ({"ended": 1}, {"ended": 0})
    assert found["magic"] == {"value": MAGIC}
    assert found["array"] == {"groups": hw.groups, "lanes": hw.lanes}
    assert found["maxima"] == {"tokens": hw.max_tokens, "embed": hw.max_embed}
    assert found["bus"] == {"bytes": hw.bus_bytes, "ports": 1}
    assert found["memory_size"] == {"value": built.manifest.memory.bytes}
    device.start()
    device._await(device.control.ended, 1.0, "no end", model.await_interrupt)
    assert device.registers()["interrupt_status"] == {"ended": 1}


def edited(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Return what changes a folder's manifest."""
    return lambda folder: (folder / "manifest.json").write_text(
        change((folder / "manifest.json").read_text()))


def flipped(folder: Path) -> None:
    """Change one bit of the image."""
    content = bytearray((folder / "program.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "program.bin").write_bytes(content)


WRONG = {
    "program.bin is not the file that": flipped,
    "No such file": lambda folder: (folder / "program.bin").unlink(),
    "Invalid JSON": edited(lambda text: text[: len(text) // 2]),
    "format: Input should be 'deltamoe-build'": edited(
        lambda text: text.replace('"deltamoe-build"', '"another"')),
    "version: Input should be 2": edited(
        lambda text: text.replace('"version": 2,', '"version": 1,')),
    "image is not a file of": edited(lambda text: text.replace('"program.bin"', '"program.h"', 1)),
    "files.0.name: String should match": edited(
        lambda text: text.replace('"name": "program.bin"', '"name": "../program.bin"')),
    "network.more: Extra inputs": edited(
        lambda text: text.replace('"task": 0,', '"task": 0, "more": 1,', 1)),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_manifest_is_refused(folder: Path, said: str) -> None:
    """In one line, before anything is asked of the accelerator."""
    WRONG[said](folder)
    with pytest.raises((ValueError, OSError), match=r"^[^\n]*$") as refused:
        Device(folder, None)
    assert said in str(refused.value)


@pytest.mark.parametrize(("base", "missing", "said"), [
    (0, 1, "bytes of memory, there are"), (4, 0, "is not aligned to 8 bytes"),
    ((1 << 40) - 8, 0, "is beyond the 40 bits of an address")])
def test_wrong_memory_is_refused(built: Build, model: Verilated, base: int, missing: int,
                                 said: str) -> None:
    model.base, model.size = base, built.manifest.memory.bytes - missing
    with pytest.raises(DeviceError, match=said):
        Device(built.folder, model)


def test_a_dead_model_is_an_error(built: Build, model: Verilated, pixels: np.ndarray) -> None:
    device = Device(built.folder, model)
    model._process.kill()
    with pytest.raises(DeviceError, match="the Verilated model has ended"):
        device.run(pixels)


def test_the_example_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture, pixels: np.ndarray,
                                   golden: Output) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "boards/README.md").read_text(), re.DOTALL)
    example, = (block for block in blocks if "Verilated" in block)
    exec(example, {"pixels": pixels})
    assert capsys.readouterr().out == f"{golden.predicted}\n"
