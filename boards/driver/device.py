"""An accelerator that a network was built for, through whatever reaches its registers and memory.

::

    with Verilated("nano") as model:
        device = Device("out/digits", model)
        print(device.run(pixels).predicted)

Everything about the network comes from its manifest. Every wait has a time-out, and every failure
is an error of its own; :meth:`Device.reset` makes the accelerator as it was after power-up.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import mul
from pathlib import Path
from typing import Self

import numpy as np

from deltamoe.boards.driver.manifest import (
    Condition,
    Manifest,
    Meaning,
    Output,
    Value,
    Write,
    content,
    read,
)
from deltamoe.rtl.control.register_map import REGISTERS

TIMEOUT = 10.0
"""Seconds that a run may take, by default."""


class DeviceError(RuntimeError):
    """The device is not what was expected, or failed; the message is one line."""


class AcceleratorError(DeviceError):
    """The accelerator ended a program with an error.

    Attributes
    ----------
    code : int
        Of ``control.errors`` in the manifest.
    name : str
        Its name there.
    index : int
        The descriptor it stopped at.
    descriptor : str
        What that is for.
    """

    def __init__(self, code: int, name: str, meaning: str, index: int, descriptor: str) -> None:
        super().__init__(f"the accelerator stopped at descriptor {index} ({descriptor}): {name}, "
                         f"{meaning}")
        self.code, self.name, self.index, self.descriptor = code, name, index, descriptor


class DeviceTimeoutError(DeviceError, TimeoutError):
    """Something took longer than it may."""


class Backend(ABC):
    """A way to the registers of an accelerator and to memory that it shares with the processor.

    Attributes
    ----------
    base : int
        Address, as the accelerator sees it, of the first byte of memory.
    size : int
        Bytes of memory.
    """

    base: int
    size: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of the accelerator; a block ``with`` does so at its end."""

    @abstractmethod
    def read_register(self, offset: int) -> int:
        """Return 32 bits."""

    @abstractmethod
    def write_register(self, offset: int, value: int) -> None:
        """Write 32 bits; return when the bus has answered, so that a read behind it sees that."""

    @abstractmethod
    def read_memory(self, offset: int, size: int) -> bytes:
        """Return bytes that the accelerator has written, ``offset`` behind the first."""

    @abstractmethod
    def write_memory(self, offset: int, data: bytes) -> None:
        """Write bytes so that the accelerator reads them."""

    @abstractmethod
    def now(self) -> float:
        """Return the seconds since some moment."""

    @abstractmethod
    def pause(self) -> None:
        """Let a little time pass between two looks at a register."""

    def await_interrupt(self, seconds: float) -> None:
        """Wait until the interrupt is high, at most so long; may return before, as this does."""
        self.pause()


@dataclass(frozen=True)
class Outputs:
    """What the accelerator makes of a picture.

    Attributes
    ----------
    tokens : ndarray
        int16 (T, D).
    scores : ndarray, optional
        int16, by class; None without classes.
    """

    tokens: np.ndarray
    scores: np.ndarray | None

    @property
    def predicted(self) -> int | None:
        """Class with the highest score; the lower one of equal."""
        return None if self.scores is None else int(np.argmax(self.scores))


class Device:
    """An accelerator with a network in its memory.

    Parameters
    ----------
    folder : str or Path
        What ``deltamoe build`` wrote.
    backend : Backend
        The way to the accelerator. The device is its only user: what runs there, of a process that
        was killed perhaps, is ended.

    Raises
    ------
    ValueError
        The manifest is not one, or a file beside it is another.
    DeviceError
        There is no accelerator, or one with registers of another version, or one for which the
        program was not built: nothing of it but the registers that tell was touched. Or its memory
        is too small or not aligned.
    DeviceTimeoutError
        Someone else's program was ended, and the memory still owes it answers.
    """

    def __init__(self, folder: str | Path, backend: Backend) -> None:
        self.folder, self.backend = Path(folder), backend
        self.manifest: Manifest = read(self.folder)
        self.control = self.manifest.control
        self._check()
        self.reset()
        self.load()

    def _check(self) -> None:
        """Refuse an accelerator or a memory that the program is not for."""
        manifest, backend = self.manifest, self.backend
        for condition in self.control.identity:
            found = backend.read_register(condition.offset)
            if found & condition.mask != condition.value:
                raise DeviceError(f"register {condition.register_} reads {found:#010x}, not "
                                  f"{condition.value:#010x}: {condition.otherwise}")
        if backend.size < manifest.memory.bytes:
            raise DeviceError(f"{self.folder} needs {manifest.memory.bytes} bytes of memory, there "
                              f"are {backend.size}")
        if backend.base % manifest.memory.alignment:
            raise DeviceError(f"memory at {backend.base:#x} is not aligned to "
                              f"{manifest.memory.alignment} bytes")
        if backend.base + manifest.memory.bytes > 1 << manifest.memory.address_bits:
            raise DeviceError(f"memory at {backend.base:#x} is beyond the "
                              f"{manifest.memory.address_bits} bits of an address")

    def load(self) -> None:
        """Copy program and weights to memory; again only if someone else wrote there."""
        image = self.manifest.image
        self.backend.write_memory(image.address, content(self.folder / image.file))

    def write_input(self, pixels: np.ndarray) -> None:
        """Write a picture, uint8 (C, height, width), to memory.

        Raises
        ------
        ValueError
            It has another shape or type.
        """
        place = self.manifest.input
        shape, side = (place.channels, place.height, place.width), place.patch_size
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, the network takes uint8 "
                             f"{shape}")
        tiles = pixels.reshape(shape[0], shape[1] // side, side, shape[2] // side, side)
        patches = tiles.transpose(1, 3, 0, 2, 4).reshape(-1, shape[0] * side * side)
        codes = patches - np.uint8(place.zero)
        rows = np.pad(codes, ((0, 0), (0, place.patch_bytes - codes.shape[1])))
        self.backend.write_memory(place.address, rows.tobytes().ljust(place.bytes, b"\0"))

    def start(self) -> None:
        """Start the program.

        Raises
        ------
        DeviceError
            One runs.
        """
        if not self._holds(self.control.ended):
            raise DeviceError("a program runs; wait for its end, or reset the accelerator")
        self._write(self.control.start)

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait for the end of the program, and take its interrupt.

        Raises
        ------
        AcceleratorError
            It ended with an error.
        DeviceTimeoutError
            It has not ended after ``timeout`` seconds. It still runs.
        """
        self._await(self.control.ended, timeout, "the program has not ended",
                    self.backend.await_interrupt)
        self._write(self.control.acknowledge)
        if self._holds(self.control.failed):
            raise self._error()

    def read_outputs(self) -> Outputs:
        """Return what the last program wrote."""
        found = {output.meaning: self._read(output) for output in self.manifest.outputs}
        return Outputs(found[Meaning.TOKENS], found.get(Meaning.SCORES))

    def run(self, pixels: np.ndarray, timeout: float = TIMEOUT) -> Outputs:
        """Return what the network makes of a picture.

        Raises
        ------
        ValueError
            As :meth:`write_input`.
        DeviceError
            As :meth:`start` and :meth:`wait`.
        """
        self.write_input(pixels)
        self.start()
        self.wait(timeout)
        return self.read_outputs()

    def reset(self, timeout: float = TIMEOUT) -> None:
        """End whatever runs, and wait until the memory owes nothing.

        Raises
        ------
        DeviceTimeoutError
            The memory still owes answers after ``timeout`` seconds.
        """
        self._write(self.control.reset)
        self._await(self.control.quiet, timeout, "the memory has not answered all requests",
                    lambda _: self.backend.pause())

    def counters(self) -> dict[str, int]:
        """Return all counters of the last program."""
        return {counter.name: self.backend.read_register(counter.offset)
                | self.backend.read_register(counter.offset + 4) << 32
                for counter in self.control.counters}

    def registers(self) -> dict[str, dict[str, int]]:
        """Return all registers that can be read, but the counters: by name, field by field.

        A register that holds one number has the one field ``value``.
        """
        words = {name: self.backend.read_register(register.offset)
                 for name, register in REGISTERS.items() if register.access.readable}
        return {name: {field.name: field.of(word) for field in REGISTERS[name].fields}
                for name, word in words.items()}

    def _read(self, output: Output) -> np.ndarray:
        """Return an output's elements."""
        count = reduce(mul, output.shape)
        data = np.frombuffer(self.backend.read_memory(output.address, output.bytes), "<i2")
        return data[:count].reshape(output.shape)

    def _holds(self, condition: Condition) -> bool:
        """Whether a register has a value."""
        found = self.backend.read_register(condition.offset)
        return found & condition.mask == condition.value

    def _await(self, condition: Condition, timeout: float, otherwise: str,
               pause: Callable[[float], None]) -> None:
        """Wait until a register has a value; ``pause`` between two looks, at most so long."""
        until = self.backend.now() + timeout
        while not self._holds(condition):
            left = until - self.backend.now()
            if left <= 0:
                raise DeviceTimeoutError(f"{otherwise} after {timeout:g} seconds")
            pause(left)

    def _write(self, writes: tuple[Write, ...]) -> None:
        """Write registers."""
        for step in writes:
            address = self.backend.base + step.value
            self.backend.write_register(step.offset, {
                Value.NUMBER: step.value, Value.ADDRESS_LOW: address & 0xFFFFFFFF,
                Value.ADDRESS_HIGH: address >> 32}[step.kind])

    def _error(self) -> AcceleratorError:
        """Return the error that a program ended with."""
        code, index = (self.backend.read_register(offset) for offset in (
            self.control.error_code, self.control.error_index))
        known = {error.code: error for error in self.control.errors}
        names = self.manifest.descriptors
        return AcceleratorError(
            code, known[code].name if code in known else str(code),
            known[code].meaning if code in known else "an error that the manifest does not name",
            index, names[index] if index < len(names) else "none of the program")
