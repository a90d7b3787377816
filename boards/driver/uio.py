"""A board under Linux: registers through UIO, memory through a DMA buffer of u-dma-buf.

Never run on a board: the tests map files in place of both devices.
"""

import fcntl
import mmap
import os
import select
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from deltamoe.boards.driver.device import Backend, DeviceError
from deltamoe.host.files import naming, read_text

REGISTER_BYTES = 1 << 12
SYSFS = Path("/sys/class/u-dma-buf")
PAUSE = 50e-6
"""Seconds between two looks at a register."""
LONGEST = 0.1
"""Seconds between two looks at a register if no interrupt comes."""
UNMASK = (1).to_bytes(4, sys.byteorder)


class Uio(Backend):
    """An accelerator whose registers are a UIO device, and its memory a buffer of ``u-dma-buf``.

    No other process can open the registers meanwhile. The buffer is opened with ``O_SYNC``, which
    with the buffer's default ``sync_mode`` keeps it out of the caches.

    Parameters
    ----------
    registers : Path
        Such as ``/dev/uio0``.
    memory : Path
        Such as ``/dev/deltamoe_zcu102-memory``. Address and size come from the folder of its name
        in ``sysfs``.
    interrupt : bool
        Whether the UIO device has the accelerator's interrupt, as in the overlay of ``deltamoe
        package --as linux``. A wait for the end of a program then sleeps until it comes; without
        it, the status is looked at every 50 microseconds.
    sysfs : Path
        Where the kernel tells of buffers.

    Raises
    ------
    DeviceError
        Another process has the accelerator.
    ValueError
        The kernel tells no address or size.
    OSError
        A device cannot be opened or mapped.
    """

    def __init__(self, registers: Path, memory: Path, *, interrupt: bool = True,
                 sysfs: Path = SYSFS) -> None:
        told = sysfs / Path(memory).name
        self.base, self.size = number(told / "phys_addr"), number(told / "size")
        with ExitStack() as stack:
            handle = opened(stack, registers, 0)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeviceError(f"{registers}: another process has the accelerator") from None
            mapped = mapping(stack, handle, REGISTER_BYTES, registers)
            self._memory = mapping(stack, opened(stack, memory, os.O_SYNC), self.size, memory)
            self._registers = np.frombuffer(mapped, np.uint32)
            stack.callback(self.__dict__.pop, "_registers")  # else the map is in use
            self._interrupt = handle if interrupt else None
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Let others have the accelerator."""
        self._stack.close()

    def read_register(self, offset: int) -> int:
        return int(self._registers[offset // 4])

    def write_register(self, offset: int, value: int) -> None:
        self._registers[offset // 4] = value

    def read_memory(self, offset: int, size: int) -> bytes:
        return self._memory[offset : offset + size]

    def write_memory(self, offset: int, data: bytes) -> None:
        self._memory[offset : offset + len(data)] = data

    def now(self) -> float:
        return time.monotonic()

    def pause(self) -> None:
        time.sleep(PAUSE)

    def await_interrupt(self, seconds: float) -> None:
        if self._interrupt is None:
            self.pause()
        else:
            interrupted(self._interrupt, min(seconds, LONGEST))


def interrupted(handle: int, seconds: float) -> bool:
    """Unmask the interrupt of a UIO device; return whether it comes within so many seconds.

    The kernel masks it when it comes. It is a level, so one that is high already comes at once.
    """
    os.write(handle, UNMASK)
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    came = bool(waiting.poll(1000 * seconds))
    if came:
        os.read(handle, len(UNMASK))
    return came


def opened(stack: ExitStack, path: Path, flags: int) -> int:
    """Open a device until the end of the stack."""
    with naming(path):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags)
    stack.callback(os.close, handle)
    return handle


def mapping(stack: ExitStack, handle: int, size: int, path: Path) -> mmap.mmap:
    """Map a device until the end of the stack."""
    with naming(path):
        return stack.enter_context(mmap.mmap(handle, size))


def number(path: Path) -> int:
    """Return what the kernel tells in a file, decimal or hexadecimal.

    Raises
    ------
    ValueError
        It is no number.
    """
    text = read_text(path).strip()
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{path} holds {text!r}, which is no number") from None
