"""The back end for Linux, with files in place of the devices, and a model behind the registers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deltamoe.api.building import Build
from deltamoe.boards import PRESETS
from deltamoe.boards.driver.device import Device, DeviceError, DeviceTimeoutError
from deltamoe.boards.driver.manifest import fingerprint
from deltamoe.boards.driver.uio import REGISTER_BYTES, Uio
from deltamoe.golden.engines import Output
from deltamoe.rtl.control.registers import ID, REGISTERS, VERSION

ADDRESS = 0x1_7000_0000
"""Of the buffer, which needs more than 32 bits."""


@pytest.fixture
def devices(tmp_path: Path, built: Build) -> tuple[Path, Path, None, Path]:
    """Registers that an accelerator would have, memory that fits, and what the kernel tells."""
    registers = np.zeros(REGISTER_BYTES // 4, "<u4")
    registers[REGISTERS["id"].offset // 4] = ID
    registers[REGISTERS["version"].offset // 4] = VERSION
    size = built.manifest.memory.bytes
    (tmp_path / "uio0").write_bytes(registers.tobytes())
    (tmp_path / "udmabuf0").write_bytes(bytes(size))
    (tmp_path / "sys/udmabuf0").mkdir(parents=True)
    (tmp_path / "sys/udmabuf0/phys_addr").write_text(f"{ADDRESS:#018x}\n")
    (tmp_path / "sys/udmabuf0/size").write_text(f"{size}\n")
    return tmp_path / "uio0", tmp_path / "udmabuf0", None, tmp_path / "sys"


def test_it_writes_what_the_manifest_says(built: Build, devices: tuple, pixels: np.ndarray,
                                          golden: Output) -> None:
    """The file never answers, so that each register keeps what was written to it last."""
    with Uio(*devices) as backend:
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
            "memory_size": built.manifest.memory.bytes, "control": 1}.items():
        assert registers[REGISTERS[name].offset // 4] == value, name
    image = (built.folder / built.manifest.image.file).read_bytes()
    assert devices[1].read_bytes()[built.manifest.image.address :][: len(image)] == image


def test_a_wait_ends(built: Build, devices: tuple) -> None:
    with Uio(*devices) as backend:
        device = Device(built.folder, backend)
        backend.write_register(device.control.ended.offset, device.control.ended.mask)
        with pytest.raises(DeviceTimeoutError, match=r"has not ended after 0\.01 seconds"):
            device.wait(0.01)


HOLDS = """
import sys
from pathlib import Path
from deltamoe.boards.driver.uio import Uio
registers, memory, sysfs = map(Path, sys.argv[1:])
with Uio(registers, memory, None, sysfs):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_open_it(devices: tuple) -> None:
    """Until the first ends, also if it is killed."""
    words = [sys.executable, "-c", HOLDS, *(str(path) for path in devices if path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DeviceError, match="another process has the accelerator"):
            Uio(*devices)
        other.kill()
    with Uio(*devices), pytest.raises(DeviceError, match="another process"):
        Uio(*devices)
    Uio(*devices).close()


def test_the_bitstream_s_hardware_is_checked(built: Build, devices: tuple) -> None:
    registers, memory, _, sysfs = devices
    with Uio(registers, memory, PRESETS["nano"], sysfs) as backend:
        assert backend.hardware == fingerprint(PRESETS["nano"]) == built.manifest.hardware.sha256
        Device(built.folder, backend)
    with (Uio(registers, memory, PRESETS["ulx3s"], sysfs) as backend,
          pytest.raises(DeviceError, match="was built for nano")):
        Device(built.folder, backend)


@pytest.mark.parametrize("name", ["uio0", "udmabuf0", "sys/udmabuf0/size"])
def test_what_is_missing_is_named(devices: tuple, name: str) -> None:
    path = devices[0].parent / name
    path.unlink()
    with pytest.raises(OSError, match="No such file") as missing:
        Uio(*devices)
    assert missing.value.filename == str(path)


def test_an_address_that_is_none_is_refused(devices: tuple) -> None:
    (devices[3] / "udmabuf0/phys_addr").write_text("none\n")
    with pytest.raises(ValueError, match="phys_addr holds 'none', which is no number"):
        Uio(*devices)
