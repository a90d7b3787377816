"""Descriptors and bytes of a program, and which on-chip addresses they may use when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.temporal.policy import Plan
from deltamoe.rtl.compiler.kept_state import Keeping
from deltamoe.rtl.compiler.layout import image_rows, norm_words, parameter_words
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Opcode, Target


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
    descriptors: tuple[Mapping[str, int], ...]
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


class Assembler:
    """Collects descriptors and bytes; one method for each kind of descriptor."""

    def __init__(self, model: Quantized, hw: HwConfig, task: int, plan: Plan) -> None:
        self.model, self.hw, self.task, self.plan = model, hw, task, plan
        self.config = model.config
        self.keeping = Keeping(model.config, hw, task, plan)
        self.fresh = True
        self.placed: list[int] = []
        self.number = 0
        self.descriptors: list[dict[str, int]] = []
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

    def load(self, name: str, target: Target, blob: np.ndarray, after: int, **fields: int) -> None:
        """Add a load of ``blob``; an expert's waits for its gate unless it is sure to be used."""
        beats = len(blob) // self.hw.bus_bytes
        if fields.get("skip_if_empty") and fields["expert"] not in self.certain:
            after = max(after, self.gate)
        if self.number == len(self.placed):
            self.placed.append(self.end)
            self.blobs.append(blob)
            self.end += len(blob)
        self.descriptors.append({
            "opcode": Opcode.LOAD, "target": target, "address": self.placed[self.number],
            "beats": beats, "wait_computes": after, **fields,
        })
        self.names.append(f"{name}.load")
        self.number += 1
        self.loads += 1

    def compute(self, name: str, fields: Mapping[str, int]) -> None:
        """Add a compute descriptor that waits for all loads so far.

        Its results are written after those of all descriptors before it, so it only needs
        ``wait_computes`` for what it reads. ``made`` counts up to the last that is no ``STORE``;
        ``whole`` tells that its rows are all of its layer's.
        """
        self.descriptors.append({"wait_loads": self.loads, **fields})
        self.names.append(name)
        self.computes += 1
        if fields["opcode"] == Opcode.STORE:
            self.stores += 1
        else:
            self.made, self.whole = self.computes, True

    def norm(self, name: str) -> dict[str, int]:
        """Load a normalization's parameters and return the fields that fuse it."""
        dim = self.config.embed_dim
        blob = norm_words(self.tensor(f"{name}.gain"), self.tensor(f"{name}.bias"))
        size = dim // self.hw.word
        base, after = self.norms.take(size, name)
        self.norms.use(base, size, self.computes)
        self.load(name, Target.NORM, blob, after, norm_base=base)
        return {"norm": 1, "norm_base": base, "norm_source": 0, "dim": dim,
                "epsilon": int(self.tensor(f"{name}.epsilon")),
                "gain_shift": int(self.tensor(f"{name}.shift"))}

    def parameters(self, name: str, bias: np.ndarray, multiplier: np.ndarray,
                   **fields: int) -> int:
        """Load biases and multipliers; return their first word."""
        blob = parameter_words(bias, multiplier)
        size = len(blob) // (4 * self.hw.lanes)
        base, after = self.params.take(size, name)
        self.params.use(base, size, self.computes)
        self.load(f"{name}.parameters", Target.PARAMETERS, blob,
                  after, param_base=base, **fields)
        return base

    def table(self, name: str) -> tuple[int, int]:
        """Load an activation table; return its bank and the code of zero."""
        entries = self.tensor(name).astype(np.uint8)
        bank, after = self.tables.take(1, name)
        self.load(name, Target.TABLE, entries, after, bank=bank)
        return bank, int(entries[0])

