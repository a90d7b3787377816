"""A board under PYNQ: it loads the bitstream, maps the registers and allocates the memory.

Never run on a board: the tests put a program of the same names in the place of PYNQ's, with the
Verilated model behind it.
"""

import fcntl
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import numpy as np

from deltamoe.boards.driver.device import Backend, DeviceError
from deltamoe.host.files import naming

MEMORY_BYTES = 128 << 20
"""Bytes of memory by default: ``vit-base-197`` has 86 million weights of a byte."""

LOCKS = Path("/run/lock")
PAUSE = 50e-6
"""Seconds between two looks at a register."""


class Pynq(Backend):
    """An accelerator in an overlay of PYNQ, with memory that PYNQ allocates.

    No other process can open it meanwhile, if it does so by this class. PYNQ itself would let it.

    Parameters
    ----------
    overlay : str or Path
        The bitstream, with the ``.hwh`` beside it that Vivado writes; PYNQ loads it into the part,
        and sets the clock that the block design asks for.
    size : int
        Bytes of memory to allocate.
    name : str
        The accelerator's name in the block design; that of ``deltamoe package --as vivado`` by
        default.
    locks : Path
        Folder of the file whose lock keeps other processes out.

    Raises
    ------
    DeviceError
        PYNQ is not installed; another process has the accelerator; the overlay has none of this
        name; or there is not as much memory that is contiguous.
    OSError
        The bitstream cannot be read, or the file of the lock not be opened.
    """

    def __init__(self, overlay: str | Path, size: int = MEMORY_BYTES, *, name: str = "accelerator",
                 locks: Path = LOCKS) -> None:
        try:
            pynq = import_module("pynq")
        except ImportError as error:
            raise DeviceError(f"PYNQ is needed, which its image of a board's card has: {error}"
                              ) from None
        path = Path(overlay)
        with naming(path):
            path.open("rb").close()
        with ExitStack() as stack:
            lock(stack, locks / "deltamoe-pynq.lock")
            blocks = (loaded := pynq.Overlay(str(path))).ip_dict
            if name not in blocks:
                raise DeviceError(f"{path} has no block {name!r}; it has "
                                  f"{', '.join(sorted(blocks)) or 'none'}")
            place = blocks[name]
            self._registers = pynq.MMIO(place["phys_addr"], place["addr_range"]).array
            self._memory = allocated(stack, pynq.allocate, size)
            self._overlay = loaded
            self._stack = stack.pop_all()
        self.base, self.size = self._memory.device_address, size

    def close(self) -> None:
        """Return the memory, and let others have the accelerator."""
        self._stack.close()

    def read_register(self, offset: int) -> int:
        return int(self._registers[offset // 4])

    def write_register(self, offset: int, value: int) -> None:
        self._registers[offset // 4] = np.uint32(value)

    def read_memory(self, offset: int, size: int) -> bytes:
        part = self._memory[offset : offset + size]
        part.invalidate()
        return part.tobytes()

    def write_memory(self, offset: int, data: bytes) -> None:
        part = self._memory[offset : offset + len(data)]
        part[:] = np.frombuffer(data, np.uint8)
        part.flush()

    def now(self) -> float:
        return time.monotonic()

    def pause(self) -> None:
        time.sleep(PAUSE)


def lock(stack: ExitStack, path: Path) -> None:
    """Keep other processes out until the end of the stack.

    Raises
    ------
    DeviceError
        One is in already.
    """
    with naming(path):
        file = stack.enter_context(path.open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DeviceError(f"{path}: another process has the accelerator") from None


def allocated(stack: ExitStack, allocate: Callable, size: int) -> np.ndarray:
    """Return bytes of memory that the accelerator reaches, until the end of the stack.

    Raises
    ------
    DeviceError
        There are not as many in one piece.
    """
    try:
        memory = allocate(shape=(size,), dtype=np.uint8)
    except (RuntimeError, MemoryError) as error:
        raise DeviceError(f"PYNQ cannot allocate {size} contiguous bytes: {error}") from None
    stack.callback(memory.freebuffer)
    return memory
