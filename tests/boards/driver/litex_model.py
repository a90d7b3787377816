"""What is behind LiteX's server, with the Verilated model in the place of a SoC."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from litex.tools.litex_server import RemoteServer

from deltamoe.boards import PRESETS
from deltamoe.boards.driver.bitstream import Soc, Step, Window
from deltamoe.boards.driver.litex import LiteX, remote
from deltamoe.boards.driver.manifest import Hardware
from deltamoe.boards.verilator.board import Verilated
from deltamoe.rtl.control.register_map import configuration

REGISTERS, MEMORY, MARK, CONTROL = 0x9000_0000, 0x4000_0000, 4, 0x800
NANO = PRESETS["nano"]


def soc(size: int) -> Soc:
    """Addresses, and a waking up of two writes."""
    return Soc(hardware=Hardware(name="nano", configuration=configuration(NANO), bus_bytes=8),
               clock_mhz=50, baud=1_000_000, registers=Window(address=REGISTERS, bytes=4096),
               memory=Window(address=MEMORY, bytes=size), mark=MARK,
               wake=(Step(address=CONTROL, value=14, cycles=20000),
                     Step(address=CONTROL, value=1, cycles=0)))


class CommUART:
    """What is behind the server: bus of a SoC with the model, whose SDRAM has to be woken up.

    Of this name the server makes bursts.
    """

    def __init__(self, model: Verilated) -> None:
        self.model, self.mark, self.control = model, 0x12345678, []
        self.longest, self.lost, self.mute = 0, False, False

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self, addr: int, length: int, burst: str) -> list[int]:
        self.longest = max(self.longest, length)
        if self.mute:
            raise OSError
        if addr < CONTROL:
            return [self.mark if addr == MARK else 0]
        if addr >= REGISTERS:
            return [self.model.read_register(addr - REGISTERS + 4 * n) for n in range(length)]
        data = self.model.read_memory(addr - MEMORY, 4 * length)
        return [int(word) for word in np.frombuffer(data, "<u4")]

    def write(self, addr: int, datas: list[int]) -> None:
        self.longest = max(self.longest, len(datas))
        if addr == MARK:
            self.mark, = datas
        elif addr == CONTROL:
            self.control += datas
        elif addr < CONTROL:
            pass
        elif addr >= REGISTERS:
            for n, value in enumerate(datas):
                self.model.write_register(addr - REGISTERS + 4 * n, value)
        elif self.control[-2:] == [14, 1] and not self.lost:
            self.model.write_memory(addr - MEMORY, np.array(datas, "<u4").tobytes())


class Server(RemoteServer):
    """LiteX's server at a free port, in a thread that ends."""

    def __init__(self, comm: CommUART) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            super().__init__(comm, "localhost", free.getsockname()[1])
        self.open()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with suppress(OSError):
            self._serve_thread()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        super().close()


class Board(LiteX):
    """The back end, whose time is the model's, with the server that it brings along."""

    def __init__(self, model: Verilated) -> None:
        self.comm = CommUART(model)
        self.server, self.now = Server(self.comm), model.now
        self.bridge = remote(port=self.server.bind_port)
        super().__init__(soc(model.size), self.bridge)
        self.base = model.base

    def wait(self, seconds: float) -> None:
        self.comm.model.pause()

    def close(self) -> None:
        super().close()
        self.server.close()


def through(model: Verilated, _: Path, __: pytest.MonkeyPatch) -> Board:
    """Return the back end for LiteX, with the model as its SoC."""
    return Board(model)
