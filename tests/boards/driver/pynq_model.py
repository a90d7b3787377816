"""What the back end uses of PYNQ, with the Verilated model in the place of a board."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from deltamoe.boards.driver import pynq
from deltamoe.boards.driver.pynq import Pynq
from deltamoe.boards.verilator.board import Verilated

REGISTERS = {"phys_addr": 0xA000_0000, "addr_range": 1 << 12}


class Buffer(np.ndarray):
    """Memory as the processor's cache has it; only flushes and invalidates reach the model's.

    As in PYNQ, a slice flushes and invalidates its own bytes.
    """

    def __array_finalize__(self, source: object) -> None:
        self.model: Verilated | None = getattr(source, "model", None)
        self.first: int = getattr(source, "first", 0)
        self.freed: list[int] = getattr(source, "freed", [])

    @property
    def offset(self) -> int:
        return self.ctypes.data - self.first

    @property
    def device_address(self) -> int:
        return self.model.base + self.offset

    def flush(self) -> None:
        self.model.write_memory(self.offset, self.tobytes())

    def invalidate(self) -> None:
        self[:] = np.frombuffer(self.model.read_memory(self.offset, self.nbytes), np.uint8)

    def freebuffer(self) -> None:
        self.freed.append(self.nbytes)


class Words:
    """The array of an MMIO: registers by the number of their word."""

    def __init__(self, model: Verilated) -> None:
        self.model = model

    def __getitem__(self, index: int) -> np.uint32:
        return np.uint32(self.model.read_register(4 * index))

    def __setitem__(self, index: int, value: np.uint32) -> None:
        assert isinstance(value, np.uint32)
        self.model.write_register(4 * index, int(value))


def board(model: Verilated, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module that stands for PYNQ until the test ends; its time is the model's."""
    module = ModuleType("pynq")
    module.loaded, module.freed = [], []

    class Overlay:
        def __init__(self, path: str) -> None:
            module.loaded.append(path)
            self.ip_dict = {"accelerator": REGISTERS, "other": {}}

    class MMIO:
        def __init__(self, base: int, length: int) -> None:
            assert {"phys_addr": base, "addr_range": length} == REGISTERS
            self.array = Words(model)

    def allocate(shape: tuple[int], dtype: type) -> Buffer:
        if shape[0] > model.size:
            raise RuntimeError("Failed to allocate Memory!")
        memory = np.full(shape, 0xAA, dtype).view(Buffer)
        memory.model, memory.first, memory.freed = model, memory.ctypes.data, module.freed
        return memory

    module.Overlay, module.MMIO, module.allocate = Overlay, MMIO, allocate
    monkeypatch.setitem(sys.modules, "pynq", module)
    clock = ModuleType("time")
    clock.monotonic, clock.sleep = model.now, lambda _: model.pause()
    monkeypatch.setattr(pynq, "time", clock)
    return module


def through(model: Verilated, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pynq:
    """Return the back end for PYNQ, with the model as its board."""
    board(model, monkeypatch)
    (folder / "design.bit").write_bytes(b"")
    return Pynq(folder / "design.bit", model.size, locks=folder)
