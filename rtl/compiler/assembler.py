"""Descriptors and bytes of a program, and which on-chip addresses they may use when."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.temporal.policy import Plan
from deltamoe.rtl.compiler.kept_state import Keeping
from deltamoe.rtl.compiler.layout import image_rows, norm_words, parameter_words
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Compute, Descriptor, Halt, Linear, Load, Operator, Store, Target

OperatorT = TypeVar("OperatorT", bound=Operator)


class Quantized(Protocol):
    """What the compiler needs of a quantized network."""

    config: ModelConfig

    def __getitem__(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Program:
    """A compiled network for one task.

    ``descriptors`` and their ``names`` belong together; ``memory`` is the image of the program
    and the weights, from byte ``start`` on, up to ``size`` bytes in all with images and outputs of
    all frames behind it. What lies before is the state that streams: a program that continues
    finds it where any of the same plan left it. What is kept on chip it finds there, and so the
    experts that the tokens had, if nothing else ran in between.
    """

    hw: HwConfig
    config: ModelConfig
    task: int
    plan: Plan
    descriptors: tuple[Descriptor, ...]
    names: tuple[str, ...]
    start: int
    memory: np.ndarray
    images: tuple[int, ...]
    outputs_at: tuple[int, ...]
    output_beats: int
    size: int

    def with_image(self, *pixels: np.ndarray) -> np.ndarray:
        """Return the whole memory with uint8 ``pixels`` (C, height, width) of each frame."""
        memory = np.zeros(self.size, np.uint8)
        memory[self.start : self.start + len(self.memory)] = self.memory
        for frame, address in zip(pixels, self.images, strict=True):
            rows = image_rows(np.asarray(frame), self.config, self.hw)
            memory[address : address + len(rows)] = rows
        return memory

    def outputs(self, memory: np.ndarray, frame: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        """Return int16 tokens (T, D) and class scores, or None, from the memory afterwards."""
        start = self.outputs_at[frame]
        words = memory[start : start + self.output_beats * self.hw.bus_bytes].view("<i2")
        tokens, dim = self.config.num_tokens, self.config.embed_dim
        x, rest = words[: tokens * dim].reshape(tokens, dim), words[tokens * dim :]
        classes = self.config.num_classes
        return x, rest[: classes[self.task]] if classes else None


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

    def take(self, size: int, owner: str) -> tuple[int, int]:
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

    def __init__(self, model: Quantized, hw: HwConfig, task: int, plan: Plan) -> None:
        self.model, self.hw, self.task, self.plan = model, hw, task, plan
        self.config = model.config
        self.keeping = Keeping(model.config, hw, task, plan)
        self.fresh = True
        self.placed: list[int] = []
        self.number = 0
        self.descriptors: list[Descriptor] = []
        self.names: list[str] = []
        self.blobs: list[np.ndarray] = []
        self.loads = self.computes = self.stores = self.made = self.end = self.gate = 0
        self.whole = True
        self.certain: frozenset[int] = frozenset()
        self.weights = Ring(hw.weight_rows, "weight_rows")
        self.params = Ring(hw.param_words, "param_words")
        self.norms = Ring(hw.norm_words, "norm_words")
        self.tables = Ring(2, "tables")

    def begin(self, *, fresh: bool) -> None:
        """Begin a frame, ``fresh`` if it is the first; its loads are those of the one before."""
        self.fresh, self.number = fresh, 0

    def tensor(self, name: str, expert: int | None = None) -> np.ndarray:
        """Return a tensor, or one expert's part of it."""
        value = np.asarray(self.model[name])
        return value if expert is None or value.ndim == 0 else value[expert]

    def add(self, name: str, descriptor: Descriptor) -> None:
        """Add a descriptor."""
        self.descriptors.append(descriptor)
        self.names.append(name)

    def load(self, name: str, load: Load, blob: np.ndarray) -> None:
        """Add a load of ``blob``; an expert's waits for its gate unless it is sure to be used.

        A load that says how many beats it has needs no bytes of the program.
        """
        if load.skip_if_empty and load.expert not in self.certain:
            load = replace(load, wait_computes=max(load.wait_computes, self.gate))
        if self.number == len(self.placed):
            self.placed.append(self.end)
            self.blobs.append(blob)
            self.end += len(blob)
        self.add(f"{name}.load", replace(load, address=self.placed[self.number],
                                         beats=load.beats or len(blob) // self.hw.bus_bytes))
        self.number += 1
        self.loads += 1

    def compute(self, name: str, descriptor: Compute) -> None:
        """Add a compute descriptor that waits for all loads so far.

        Its results are written after those of all descriptors before it, so it only needs
        ``wait_computes`` for what it reads. ``made`` counts up to the last that is no ``STORE``;
        ``whole`` tells that its rows are all of its layer's.
        """
        self.add(name, replace(descriptor, wait_loads=self.loads))
        self.computes += 1
        if isinstance(descriptor, Store):
            self.stores += 1
        else:
            self.made, self.whole = self.computes, True

    def halt(self) -> None:
        """End the program."""
        self.add("halt", Halt())

    def after(self, *, by_row: bool) -> After:
        """Return what an operator waits for that needs the last one placed."""
        return After(self.made, by_row and self.whole)

    def norm(self, name: str) -> Linear:
        """Load a normalization's parameters; return a layer that begins with it."""
        dim = self.config.embed_dim
        blob = norm_words(self.tensor(f"{name}.gain"), self.tensor(f"{name}.bias"))
        size = dim // self.hw.word
        base, after = self.norms.take(size, name)
        self.norms.use(base, size, self.computes)
        self.load(name, Load(target=Target.NORM, base=base, wait_computes=after), blob)
        return Linear(norm=True, rms=self.config.norm == "rms", norm_base=base, dim=dim,
                      operand_signed=True, epsilon=int(self.tensor(f"{name}.epsilon")),
                      gain_shift=int(self.tensor(f"{name}.shift")))

    def parameters(self, name: str, bias: np.ndarray, multiplier: np.ndarray,
                   load: Load | None = None) -> int:
        """Load biases and multipliers, by ``load`` if it is an expert's; return the first word."""
        blob = parameter_words(bias, multiplier)
        size = len(blob) // (4 * self.hw.lanes)
        base, after = self.params.take(size, name)
        self.params.use(base, size, self.computes)
        self.load(f"{name}.parameters", replace(
            load or Load(), target=Target.PARAMETERS, base=base, wait_computes=after), blob)
        return base

    def table(self, name: str) -> tuple[int, int]:
        """Load an activation table; return its bank and the code of zero."""
        entries = self.tensor(name).astype(np.uint8)
        bank, after = self.tables.take(1, name)
        self.load(name, Load(target=Target.TABLE, bank=bank, wait_computes=after), entries)
        return bank, int(entries[0])
