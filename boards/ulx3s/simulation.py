"""The SoC of the ULX3S in Verilator, with a model of its SDRAM, and what passes to and from it."""

import hashlib
import math
import struct
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deltamoe.boards.driver.bitstream import Soc
from deltamoe.boards.driver.device import DeviceError
from deltamoe.boards.driver.litex import LiteX
from deltamoe.boards.packages.core import Core
from deltamoe.boards.ulx3s.gateware import check_litex, generate
from deltamoe.boards.verilator.build import check_tools, verilate
from deltamoe.host import cache
from deltamoe.host.files import read_text, write
from deltamoe.host.processes import scratch, started

SOURCES = ("bench.v", "sdram.v", "harness.cpp")

NANOSECONDS = {"T_RP": 20, "T_RCD": 20, "T_RAS": 44, "T_RC": 66, "T_RFC": 66, "T_WR": 15,
               "PERIOD": 8_000_000}
"""Times of the chip, MT48LC16M16 of grade -75; REFRESHES are due in each PERIOD."""

REFRESHES = 1000
"""One every 8 microseconds; the chip asks for 8192 in 64 ms, or one every 7.8."""

FLAGS = ("-O3", "--top-module", "bench", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
         "-CFLAGS", "-O2", "-CFLAGS", "-std=c++20", "-MAKEFLAGS", "OPT_FAST=-O2",
         "-MAKEFLAGS", "OPT_SLOW=-O0")


@dataclass(frozen=True)
class Bursts:
    """Bursts on the accelerator's port to memory.

    Each array has an element for each burst, in the order of their addresses; cycles count from
    power-up.

    Attributes
    ----------
    beats : ndarray
        Beats of a burst.
    address, first, last : ndarray
        Cycles in which the address, the first beat and the last beat were taken.
    answer : ndarray
        Of writes, cycle in which the answer was taken.
    """

    beats: np.ndarray
    address: np.ndarray
    first: np.ndarray
    last: np.ndarray
    answer: np.ndarray


@dataclass(frozen=True)
class Model:
    """A SoC and the program that simulates it."""

    soc: Soc
    program: Path


class Port:
    """The UART of the simulated SoC, as a serial port of PySerial."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process, self._waiting = process, bytearray()

    def write(self, data: bytes) -> int:
        """Send bytes, at the latest before the next are read."""
        self._waiting += bytes(data)
        return len(data)

    def read(self, count: int) -> bytes:
        """Return bytes."""
        return self.ask(b"G", count, answer=count)

    def inWaiting(self) -> int:  # noqa: N802
        """Return how many bytes nobody has asked for: none."""
        return 0

    def close(self) -> None:
        """Leave the process to its owner."""

    def ask(self, command: bytes, *numbers: int, answer: int) -> bytes:
        """Give the harness a command; return the bytes of its answer.

        Raises
        ------
        DeviceError
            The process has ended, say since a rule of SDRAM was broken.
        """
        sent = bytes(self._waiting)
        self._waiting.clear()
        message = b"B" + struct.pack("<Q", len(sent)) + sent if sent else b""
        message += command + struct.pack(f"<{len(numbers)}Q", *numbers)
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
            found = self._process.stdout.read(answer)
        except BrokenPipeError:
            found = b""
        if len(found) != answer:
            said = self._process.stderr.read().decode(errors="replace").strip()
            raise DeviceError(f"the simulated SoC has ended: {said}")
        return found


class Simulated(LiteX):
    """The SoC in a process of its own, as after power-up, through LiteX's protocol for UARTs.

    Time passes only while something is sent and received, and in waits.

    Parameters
    ----------
    model : Model
        The SoC.
    chip : dict, optional
        What the chip asks for, in cycles, if it is to be another than :func:`times` says.
    """

    def __init__(self, model: Model, chip: dict[str, int] | None = None) -> None:
        from litex.tools.remote.comm_uart import CommUART

        class Comm(CommUART):
            def __init__(self, port: Port) -> None:
                self.port, self.debug, self.addr_bytes = port, False, 4

        self._hz = model.soc.clock_mhz * 1e6
        with ExitStack() as stack:
            asked = chip or times(model.soc.clock_mhz)
            words = [f"+{name}={cycles}" for name, cycles in asked.items()]
            self._port = Port(stack.enter_context(started(
                [model.program, *words], stdin=subprocess.PIPE, text=False)))
            super().__init__(model.soc, Comm(self._port))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def now(self) -> float:
        return self._pass(0) / self._hz

    def wait(self, seconds: float) -> None:
        self._pass(math.ceil(seconds * self._hz))

    def bursts(self) -> tuple[Bursts, Bursts]:
        """Return the reads and the writes since power-up."""
        reads, writes = struct.unpack("<2Q", self._port.ask(b"P", answer=16))
        rows = np.frombuffer(self._port.ask(b"", answer=40 * (reads + writes)), "<i8")
        table = rows.reshape(-1, 5).T
        return Bursts(*table[:, :reads]), Bursts(*table[:, reads:])

    def _pass(self, cycles: int) -> int:
        """Let cycles pass; return how many have since power-up."""
        return int.from_bytes(self._port.ask(b"T", cycles, answer=8), "little")


def times(mhz: float) -> dict[str, int]:
    """Return what the chip asks for at a clock, in cycles."""
    return {**{name: math.ceil(time * mhz / 1000) for name, time in NANOSECONDS.items()},
            "REFRESHES": REFRESHES}


def build(core: Core, mhz: float) -> Model:
    """Return the simulator of the SoC with an accelerator, built unless the cache has it.

    Raises
    ------
    ValueError
        LiteX, Verilator or a compiler is not there.
    ProgramError
        One of them failed.
    """
    check_litex()
    check_tools()
    made = generate(core, mhz, 1_000_000, simulation=True)
    files = {"top.v": made.verilog, **{name: read_text(Path(__file__).with_name(name))
                                       for name in SOURCES}}
    flags = [*FLAGS, f"+define+ACCELERATOR={core.name}"]
    key = hashlib.sha256("\0".join([*files.values(), *flags]).encode()).hexdigest()[:24]
    path = cache.folder() / f"soc-{key}"
    if not path.exists():
        with cache.locked(path.name), scratch() as folder:
            if not path.exists():
                write(path, verilate(folder, files, flags), mode=0o777)
    return Model(made.soc, path)
