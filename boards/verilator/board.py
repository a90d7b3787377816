"""The Verilated model as a board: registers, memory, and a clock that stands still in between."""

import struct
import subprocess
from contextlib import ExitStack

from deltamoe.boards import hardware as hardware_by_name
from deltamoe.boards.driver.device import Backend, DeviceError
from deltamoe.boards.verilator.engine import build
from deltamoe.host.processes import started
from deltamoe.rtl.config import HwConfig

MIB = 1 << 20


class Verilated(Backend):
    """An accelerator in Verilator, in a process of its own, as after power-up.

    Parameters
    ----------
    hardware : str or HwConfig
        A preset, or another geometry. Its model is built once, which takes minutes, and is kept.
    size : int
        Bytes of memory.
    base : int
        Where in memory the first byte lies that is used.
    mhz : float
        Its clock, which tells how long a program takes: time passes only in :meth:`pause` and with
        accesses of registers.
    pause : int
        Cycles that pass in :meth:`pause`.
    latency, interval, stall_seed, power_up_seed
        Of memory and model, as :func:`deltamoe.boards.verilator.engine.run` takes them.

    Raises
    ------
    ValueError, ProgramError
        No such preset, or the model cannot be built.
    """

    def __init__(self, hardware: str | HwConfig = "nano", size: int = 64 * MIB, *, base: int = 0,
                 mhz: float = 100.0, pause: int = 1000, latency: int = 20, interval: int = 1,
                 stall_seed: int = 0, power_up_seed: int = 0) -> None:
        hw = hardware if isinstance(hardware, HwConfig) else hardware_by_name(hardware)
        self.base, self.size = base, size - base
        self._hz, self._cycles = mhz * 1e6, pause
        self._stack = ExitStack()
        self._process = self._stack.enter_context(started(
            [build(hw), "serve", size, latency, interval, stall_seed, power_up_seed],
            stdin=subprocess.PIPE, text=False))

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def read_register(self, offset: int) -> int:
        return int.from_bytes(self._ask(b"R", offset, answer=4), "little")

    def write_register(self, offset: int, value: int) -> None:
        self._ask(b"W", offset, value)

    def read_memory(self, offset: int, size: int) -> bytes:
        return self._ask(b"G", self._place(offset, size), size, answer=size)

    def write_memory(self, offset: int, data: bytes) -> None:
        self._ask(b"P", self._place(offset, len(data)), len(data), data=data)

    def now(self) -> float:
        return self._pass(0)

    def pause(self) -> None:
        self._pass(self._cycles)

    def silence(self, silent: bool) -> None:
        """Let the memory answer no more, or again."""
        self._ask(b"S", int(silent))

    def fail(self, offset: int | None) -> None:
        """Let accesses of one byte of memory end with an error; None: no more."""
        self._ask(b"F", (1 << 64) - 1 if offset is None else self.base + offset)

    def _pass(self, cycles: int) -> float:
        """Let cycles pass; return the seconds since power-up."""
        return int.from_bytes(self._ask(b"T", cycles, answer=8), "little") / self._hz

    def _place(self, offset: int, size: int) -> int:
        """Return the address of bytes of memory.

        Raises
        ------
        DeviceError
            Some are beyond its end.
        """
        if not 0 <= offset <= self.size - size:
            raise DeviceError(f"{size} bytes from {offset} on are beyond the memory of {self.size}")
        return self.base + offset

    def _ask(self, command: bytes, *numbers: int, data: bytes = b"", answer: int = 0) -> bytes:
        """Send a command; return the bytes of its answer.

        Raises
        ------
        DeviceError
            The process has ended.
        """
        sink, source = self._process.stdin, self._process.stdout
        try:
            sink.write(command + struct.pack(f"<{len(numbers)}Q", *numbers) + data)
            sink.flush()
            found = source.read(answer)
        except (BrokenPipeError, ValueError):
            found = None
        if found is None or len(found) != answer:
            raise DeviceError("the Verilated model has ended")
        return found
