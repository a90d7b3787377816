"""Tensors of a network, as they are loaded."""

from typing import Any, Protocol

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.temporal.policy import Plan
from deltamoe.rtl.compiler.assembler import Ring
from deltamoe.rtl.compiler.kept_state import Keeping
from deltamoe.rtl.compiler.layout import norm_words
from deltamoe.rtl.compiler.matrices import Matrices
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Linear, Load, Target


class Quantized(Protocol):
    """What the compiler needs of a quantized network."""

    config: ModelConfig

    def __getitem__(self, name: str) -> Any: ...


class Tensors(Matrices):
    """Adds what a network needs of its tensors beside those of its layers."""

    def __init__(self, model: Quantized, hw: HwConfig, task: int, plan: Plan) -> None:
        super().__init__(hw)
        self.model, self.task, self.plan = model, task, plan
        self.config = model.config
        self.keeping = Keeping(model.config, hw, task, plan)
        self.fresh = True
        self.norms = Ring(hw.norm_words, "norm_words")
        self.tables = Ring(2, "tables")

    def begin(self, *, fresh: bool) -> None:
        """Begin a frame, ``fresh`` if it is the first; its loads are those of the one before."""
        self.fresh, self.number = fresh, 0

    def tensor(self, name: str, expert: int | None = None) -> np.ndarray:
        """Return a tensor, or one expert's part of it."""
        value = np.asarray(self.model[name])
        return value if expert is None or value.ndim == 0 else value[expert]

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

    def table(self, name: str) -> tuple[int, int]:
        """Load an activation table; return its bank and the code of zero."""
        entries = self.tensor(name).astype(np.uint8)
        bank, after = self.tables.take(1, name)
        self.load(name, Load(target=Target.TABLE, bank=bank, wait_computes=after), entries)
        return bank, int(entries[0])
