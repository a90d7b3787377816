"""The back end for PYNQ: what it asks of it, and what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from deltamoe.boards.driver.device import DeviceError
from deltamoe.boards.driver.pynq import Pynq
from deltamoe.boards.verilator.board import Verilated
from tests.boards.driver.pynq_model import board, through

pytestmark = [pytest.mark.verilator, pytest.mark.xdist_group("driver")]


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    path = tmp_path / "design.bit"
    path.write_bytes(b"")
    return path


def test_it_loads_the_bitstream_and_returns_the_memory(
        model: Verilated, bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = board(model, monkeypatch)
    with Pynq(bitstream, 4096, locks=bitstream.parent) as backend:
        assert (backend.base, backend.size) == (model.base, 4096)
        assert (module.loaded, module.freed) == ([str(bitstream)], [])
    assert module.freed == [4096]


def test_memory_passes_the_caches(model: Verilated, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bytes that are meant, and of no others."""
    with through(model, tmp_path, monkeypatch) as backend:
        model.write_memory(0, bytes(range(16)))
        backend.write_memory(4, b"four")
        assert model.read_memory(0, 16) == bytes(range(4)) + b"four" + bytes(range(8, 16))
        model.write_memory(2, b"two")
        assert backend.read_memory(1, 8) == b"\x01twoour\x08"


HOLDS = """
import sys
from contextlib import ExitStack
from pathlib import Path
from deltamoe.boards.driver.pynq import lock
with ExitStack() as stack:
    lock(stack, Path(sys.argv[1]) / "deltamoe-pynq.lock")
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_open_it(model: Verilated, bitstream: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the first ends, also if it is killed. The bitstream is not loaded meanwhile."""
    module, locks = board(model, monkeypatch), bitstream.parent
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(locks)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DeviceError, match="another process has the accelerator"):
            Pynq(bitstream, 4096, locks=locks)
        other.kill()
    assert not module.loaded
    with Pynq(bitstream, 4096, locks=locks), pytest.raises(DeviceError, match="another process"):
        Pynq(bitstream, 4096, locks=locks)


def test_after_an_error_it_can_be_opened(model: Verilated, bitstream: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    board(model, monkeypatch)
    with pytest.raises(DeviceError, match="has no block 'mine'; it has accelerator, other"):
        Pynq(bitstream, 4096, name="mine", locks=bitstream.parent)
    with pytest.raises(DeviceError, match=r"PYNQ cannot allocate \d+ contiguous bytes: Failed to"):
        Pynq(bitstream, model.size + 1, locks=bitstream.parent)
    Pynq(bitstream, 4096, locks=bitstream.parent).close()


def test_what_is_missing_is_named(model: Verilated, bitstream: Path, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pynq", None)
        with pytest.raises(DeviceError, match=r"^PYNQ is needed, which its image[^\n]*$"):
            Pynq(bitstream, locks=tmp_path)
    board(model, monkeypatch)
    for path, locks in ((tmp_path / "none.bit", tmp_path), (bitstream, tmp_path / "none")):
        with pytest.raises(OSError, match="No such file") as missing:
            Pynq(path, locks=locks)
        assert "none" in missing.value.filename
