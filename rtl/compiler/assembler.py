"""Descriptors and bytes of a program, and which on-chip addresses they may use when."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.temporal.policy import Plan
from deltamoe.rtl.compiler.layout import image_rows, parameter_words
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.label import Label, Role, Section, Subject, What
from deltamoe.rtl.program import Compute, Descriptor, Halt, Load, Operator, Store, Target

OperatorT = TypeVar("OperatorT", bound=Operator)


@dataclass(frozen=True)
class Program:
    """What the accelerator runs: descriptors and all bytes that they load.

    ``descriptors`` and their ``labels`` belong together; ``memory`` is the image of the program
    and the weights, from byte ``start`` on, up to ``size`` bytes in all with images and outputs of
    all frames behind it. What lies before is the state that streams: a program that continues
    finds it where any of the same plan left it. What is kept on chip it finds there, and so the
    experts that the tokens had, if nothing else ran in between.
    """

    hw: HwConfig
    descriptors: tuple[Descriptor, ...]
    labels: tuple[Label, ...]
    start: int
    memory: np.ndarray
    images: tuple[int, ...]
    outputs_at: tuple[int, ...]
    output_beats: int
    size: int

    def with_bytes(self, *frames: np.ndarray) -> np.ndarray:
        """Return the whole memory with the bytes that each frame loads as its image."""
        memory = np.zeros(self.size, np.uint8)
        memory[self.start : self.start + len(self.memory)] = self.memory
        for rows, address in zip(frames, self.images, strict=True):
            memory[address : address + len(rows)] = rows
        return memory

    def stored(self, memory: np.ndarray, frame: int = 0) -> np.ndarray:
        """Return the int16 values that a frame has stored, from the memory afterwards."""
        start = self.outputs_at[frame]
        return memory[start : start + self.output_beats * self.hw.bus_bytes].view("<i2")


@dataclass(frozen=True, kw_only=True)
class NetworkProgram(Program):
    """A compiled network for one task."""

    config: ModelConfig
    task: int
    plan: Plan

    def with_image(self, *pixels: np.ndarray) -> np.ndarray:
        """Return the whole memory with uint8 ``pixels`` (C, height, width) of each frame."""
        return self.with_bytes(*(image_rows(np.asarray(frame), self.config, self.hw)
                                 for frame in pixels))

    def outputs(self, memory: np.ndarray, frame: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        """Return int16 tokens (T, D) and class scores, or None, from the memory afterwards."""
        words, config = self.stored(memory, frame), self.config
        count = config.num_tokens * config.embed_dim
        x, rest = words[:count].reshape(config.num_tokens, config.embed_dim), words[count:]
        return x, rest[: config.num_classes[self.task]] if config.num_classes else None


@dataclass
class Ring:
    """Addresses of an on-chip memory, handed out round and round.

    ``segments`` remember the compute descriptor that used them last, so whoever overwrites them
    knows what to wait for.
    """

    depth: int
    name: str
    position: int = 0
    segments: list[tuple[int, int, int]] = field(default_factory=list)

    def take(self, size: int, owner: Subject) -> tuple[int, int]:
        """Return the first address and how many compute descriptors must have finished."""
        if size > self.depth:
            raise ValueError(f"{owner} needs {size} {self.name}, the hardware has {self.depth}")
        start = self.position if self.position + size <= self.depth else 0
        overlapping = [s for s in self.segments if s[0] < start + size and start < s[1]]
        self.segments = [s for s in self.segments if s not in overlapping]
        self.position = start + size
        return start, max((last + 1 for _, _, last in overlapping), default=0)

    def use(self, start: int, size: int, compute: int) -> None:
        """Note that compute descriptor number ``compute`` reads this segment."""
        self.segments.append((start, start + size, compute))


class After(NamedTuple):
    """What an operator waits for: compute descriptors, the last of them row by row or not."""

    computes: int = 0
    by_row: bool = False

    def on(self, operator: OperatorT) -> OperatorT:
        """Return an operator that waits for it."""
        return replace(operator, wait_computes=self.computes, by_row=self.by_row)


class Assembler:
    """Collects descriptors and bytes; one method for each kind of descriptor."""

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.placed: list[int] = []
        self.number = 0
        self.descriptors: list[Descriptor] = []
        self.labels: list[Label] = []
        self.blobs: list[np.ndarray] = []
        self.loads = self.computes = self.stores = self.computed = self.end = self.gate = 0
        self.whole = True
        self.certain: frozenset[int] = frozenset()
        self.weights = Ring(hw.weight_rows, "weight_rows")
        self.params = Ring(hw.param_words, "param_words")

    def add(self, label: Label, descriptor: Descriptor) -> None:
        """Add a descriptor."""
        self.descriptors.append(descriptor)
        self.labels.append(label)

    def load(self, subject: Subject, load: Load, blob: np.ndarray,
             what: What | None = None) -> None:
        """Add a load of ``blob``; an expert's waits for its gate unless it is sure to be used.

        A load that says how many beats it has needs no bytes of the program.
        """
        if load.skip_if_empty and load.expert not in self.certain:
            load = replace(load, wait_computes=max(load.wait_computes, self.gate))
        if self.number == len(self.placed):
            self.placed.append(self.end)
            self.blobs.append(blob)
            self.end += len(blob)
        self.add(Label(subject, Role.LOAD, what), replace(
            load, address=self.placed[self.number],
            beats=load.beats or len(blob) // self.hw.bus_bytes))
        self.number += 1
        self.loads += 1

    def compute(self, subject: Subject, descriptor: Compute, role: Role | None = None,
                section: Section | None = None) -> None:
        """Add a compute descriptor that waits for all loads so far.

        Its results are written after those of all descriptors before it, so it only needs
        ``wait_computes`` for what it reads. ``computed`` counts up to the last that is no
        ``STORE``; ``whole`` tells that its rows are all of its layer's.
        """
        self.add(Label(subject, role, section=section), replace(descriptor, wait_loads=self.loads))
        self.computes += 1
        if isinstance(descriptor, Store):
            self.stores += 1
        else:
            self.computed, self.whole = self.computes, True

    def halt(self) -> None:
        """End the program."""
        self.add(Label("halt"), Halt())

    def after(self, *, by_row: bool) -> After:
        """Return what an operator waits for that needs the last one placed."""
        return After(self.computed, by_row and self.whole)

    def parameters(self, subject: Subject, bias: np.ndarray, multiplier: np.ndarray,
                   load: Load | None = None) -> int:
        """Load biases and multipliers, by ``load`` if it is an expert's; return the first word."""
        blob = parameter_words(bias, multiplier)
        size = len(blob) // (4 * self.hw.lanes)
        base, after = self.params.take(size, subject)
        self.params.use(base, size, self.computes)
        self.load(subject, replace(
            load or Load(), target=Target.PARAMETERS, base=base, wait_computes=after), blob,
            What.PARAMETERS)
        return base
