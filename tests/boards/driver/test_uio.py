"""The back end for Linux, with files in place of the devices, and a model behind the registers."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from deltamoe.api.building import Build
from deltamoe.boards import PRESETS
from deltamoe.boards.driver import uio
from deltamoe.boards.driver.device import Device, DeviceError, DeviceTimeoutError
from deltamoe.boards.driver.uio import LONGEST, PAUSE, REGISTER_BYTES, Uio, interrupted
from deltamoe.golden.engines import Output
from deltamoe.rtl.control.register_map import register_map

NANO = register_map(PRESETS["nano"])

ADDRESS = 0x1_7000_0000
"""Of the buffer, which needs more than 32 bits."""


@pytest.fixture
def devices(tmp_path: Path, built: Build) -> tuple[Path, Path]:
    """Registers that an accelerator would have, memory that fits, and what the kernel tells."""
    registers = np.zeros(REGISTER_BYTES // 4, "<u4")
    for register in NANO.values():
        registers[register.offset // 4] = register.reset
    size = built.manifest.memory.bytes
    (tmp_path / "uio0").write_bytes(registers.tobytes())
    (tmp_path / "udmabuf0").write_bytes(bytes(size))
    (tmp_path / "sys/udmabuf0").mkdir(parents=True)
    (tmp_path / "sys/udmabuf0/phys_addr").write_text(f"{ADDRESS:#018x}\n")
    (tmp_path / "sys/udmabuf0/size").write_text(f"{size}\n")
    return tmp_path / "uio0", tmp_path / "udmabuf0"


def opened(devices: tuple[Path, Path], interrupt: bool = False) -> Uio:
    """Return the back end; files in place of devices have no interrupt."""
    return Uio(*devices, interrupt=interrupt, sysfs=devices[0].parent / "sys")


def test_it_writes_what_the_manifest_says(built: Build, devices: tuple[Path, Path],
                                          pixels: np.ndarray, golden: Output) -> None:
    """The file never answers, so that each register keeps what was written to it last."""
    with opened(devices) as backend:
        device = Device(built.folder, backend)
        device.write_input(pixels)
        device.start()
        device.wait()
        expected = golden.x.astype("<i2").tobytes() + golden.scores.astype("<i2").tobytes()
        backend.write_memory(built.manifest.outputs[0].address, expected)
        assert np.array_equal(device.read_outputs().tokens, golden.x)
        assert np.array_equal(device.read_outputs().scores, golden.scores)
    registers = np.fromfile(devices[0], "<u4")
    for name, value in {
            "program_low": ADDRESS & 0xFFFFFFFF, "program_high": ADDRESS >> 32,
            "memory_low": ADDRESS & 0xFFFFFFFF, "memory_high": ADDRESS >> 32,
            "program_length": len(built.manifest.descriptors),
            "memory_size": built.manifest.memory.bytes, "control": 1,
            "interrupt_enable": 1, "interrupt_status": 1}.items():
        assert registers[NANO[name].offset // 4] == value, name
    image = (built.folder / built.manifest.image.file).read_bytes()
    assert devices[1].read_bytes()[built.manifest.image.address :][: len(image)] == image


def test_a_wait_ends(built: Build, devices: tuple[Path, Path]) -> None:
    with opened(devices) as backend:
        device = Device(built.folder, backend)
        backend.write_register(device.control.ended.offset, device.control.ended.mask)
        with pytest.raises(DeviceTimeoutError, match=r"has not ended after 0\.01 seconds"):
            device.wait(0.01)


HOLDS = """
import sys
from pathlib import Path
from deltamoe.boards.driver import uio
from deltamoe.boards.driver.uio import Uio
registers, memory, sysfs = map(Path, sys.argv[1:])
with Uio(registers, memory, interrupt=False, sysfs=sysfs):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_open_it(devices: tuple[Path, Path]) -> None:
    """Until the first ends, also if it is killed."""
    words = [sys.executable, "-c", HOLDS, *map(str, devices), str(devices[0].parent / "sys")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DeviceError, match="another process has the accelerator"):
            opened(devices)
        other.kill()
    with opened(devices), pytest.raises(DeviceError, match="another process"):
        opened(devices)
    opened(devices).close()


def test_another_accelerator_is_refused(built: Build, devices: tuple[Path, Path]) -> None:
    with opened(devices) as backend:
        backend.write_register(NANO["configuration"].offset, 0)
        with pytest.raises(DeviceError, match="was built for nano, and the acc"):
            Device(built.folder, backend)


@pytest.fixture
def kernel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A handle like that of a UIO device, whose reads and writes are messages, and its far end."""
    with ExitStack() as stack:
        near, far = map(stack.enter_context, socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET))
        far.settimeout(10)
        yield near, far


def test_an_interrupt_is_unmasked_and_awaited(kernel: tuple) -> None:
    """One that comes ends the wait, and is taken; without one the wait ends in time."""
    near, far = kernel
    far.send((1).to_bytes(4, sys.byteorder))
    assert interrupted(near.fileno(), 60)
    assert int.from_bytes(far.recv(8), sys.byteorder) == 1
    began = time.monotonic()
    assert not interrupted(near.fileno(), 0.05)
    assert 0.04 < time.monotonic() - began < 30
    assert int.from_bytes(far.recv(8), sys.byteorder) == 1


def test_a_wait_sleeps_until_the_interrupt(built: Build, devices: tuple[Path, Path], kernel: tuple,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks at the status before and behind it."""
    near, far = kernel
    monkeypatch.setattr(uio, "LONGEST", 60)
    with opened(devices, interrupt=True) as backend:
        monkeypatch.setattr(backend, "_interrupt", near.fileno())
        device, ended = Device(built.folder, backend), built.manifest.control.ended
        backend.write_register(ended.offset, ended.mask)
        read, looks = backend.read_register, []

        def look(offset: int) -> int:
            looks.append(offset)
            if len(looks) == 2:
                backend.write_register(ended.offset, 0)
            return read(offset)

        monkeypatch.setattr(backend, "read_register", look)
        monkeypatch.setattr(backend, "pause", None)
        far.send(bytes(4))
        device.wait(60)
        assert looks == [ended.offset] * 3  # the last one for an error
        assert int.from_bytes(far.recv(8), sys.byteorder) == 1


def test_a_wait_looks_again_if_no_interrupt_comes(built: Build, devices: tuple[Path, Path],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer than the time-out."""
    slept = []
    monkeypatch.setattr(uio, "interrupted", lambda _, seconds: slept.append(seconds))
    with opened(devices, interrupt=True) as backend:
        monkeypatch.setattr(backend, "now", lambda: sum(slept))
        monkeypatch.setattr(backend, "pause", None)
        device, ended = Device(built.folder, backend), built.manifest.control.ended
        backend.write_register(ended.offset, ended.mask)
        with pytest.raises(DeviceTimeoutError, match=r"has not ended after 0\.25 seconds"):
            device.wait(0.25)
    assert slept == pytest.approx([LONGEST, LONGEST, 0.05])


def test_without_an_interrupt_it_looks_again_and_again(
        built: Build, devices: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    slept = []
    monkeypatch.setattr(uio.time, "sleep", slept.append)
    with opened(devices) as backend:
        device = Device(built.folder, backend)
        ended = built.manifest.control.ended
        backend.write_register(ended.offset, ended.mask)
        with pytest.raises(DeviceTimeoutError):
            device.wait(0.01)
    assert slept
    assert set(slept) == {PAUSE}


@pytest.mark.parametrize("name", ["uio0", "udmabuf0", "sys/udmabuf0/size"])
def test_what_is_missing_is_named(devices: tuple[Path, Path], name: str) -> None:
    path = devices[0].parent / name
    path.unlink()
    with pytest.raises(OSError, match="No such file") as missing:
        opened(devices)
    assert missing.value.filename == str(path)


def test_an_address_that_is_none_is_refused(devices: tuple[Path, Path]) -> None:
    (devices[0].parent / "sys/udmabuf0/phys_addr").write_text("none\n")
    with pytest.raises(ValueError, match="phys_addr holds 'none', which is no number"):
        opened(devices)
