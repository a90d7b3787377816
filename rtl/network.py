"""The operators of a network, in order, with what each of them waits for."""

import numpy as np

from golden.config import ModelConfig
from rtl.assembler import Assembler, Program
from rtl.config import HwConfig, lower_half
from rtl.layout import image_rows, image_stride, residual_rows
from rtl.linker import link
from rtl.placement import head_rows, sets_of
from rtl.program import Dest, Opcode, Source, Target


def act_words(config: ModelConfig, hw: HwConfig) -> int:
    """Words of activations: queries and contexts, later the hidden values."""
    widest = max(2 * config.embed_dim, config.hidden_dim, 2 * config.expert_dim)
    return config.num_tokens * widest // hw.word


class Network:
    """Places the operators of one network."""

    def __init__(self, assembler: Assembler) -> None:
        self.c = assembler
        self.config, self.hw = assembler.config, assembler.hw
        self.tokens = self.config.num_tokens
        self.words = self.config.embed_dim // self.hw.word
        self.image_beats = len(image_rows(self.blank(), self.config, self.hw)) // self.hw.bus_bytes
        self.stream: dict[str, int] = {}
        self.patched: list[int] = []
        self.left: list[int] = []
        self.stored: list[int] = []

    def program(self, frames: int) -> Program:
        """Place all operators and return the program."""
        c, config = self.c, self.config
        beats = self.tokens * self.words
        if config.num_classes:
            beats += -(-config.num_classes[c.task] // self.hw.word)
        for frame in range(frames):
            self.frame(frame, beats)
        c.descriptors.append({"opcode": Opcode.HALT})
        c.names.append("halt")
        return link(c, frames, self.image_beats, beats)

    def frame(self, frame: int, beats: int) -> None:
        """Place one inference.

        Its residual stream takes the other half of the memory, if it fits, so that it can be
        loaded during the inference before.
        """
        c, config = self.c, self.config
        half = lower_half(self.hw.residual_words)
        turns = 2 if beats <= self.hw.residual_words - half else 1
        self.base = half * (frame % turns)
        self.embed(frame, self.stored[frame - turns] if frame >= turns else 0)
        for layer in range(config.num_layers):
            self.attention(f"blocks.{layer}")
            if config.is_moe(layer):
                self.experts(f"blocks.{layer}")
            else:
                self.mlp(f"blocks.{layer}")
        self.left.append(c.computes)
        if config.num_classes:
            self.head()
        c.compute("store", {"opcode": Opcode.STORE, "rows": 1, "beats": beats,
                            "norm_source": self.base})
        self.stored.append(c.computes)

    def blank(self) -> np.ndarray:
        """Return an image of zeros."""
        config = self.config
        return np.zeros((config.image_channels, config.image_height, config.image_width), np.uint8)

    def residual(self) -> dict[str, int]:
        """Fields of an operator that adds to the residual stream."""
        return {"dest": Dest.RESIDUAL, "dest_base": self.base, "dest_stride": self.words}

    def normalized(self, name: str) -> dict[str, int]:
        """Fields of an operator that normalizes the residual stream as soon as it is final."""
        return {**self.c.norm(name), "norm_source": self.base, **self.stream}

    def after(self, *, by_row: bool) -> dict[str, int]:
        """Fields of an operator that needs the last one placed."""
        return {"wait_computes": self.c.computes, "by_row": int(by_row)}

    def embed(self, frame: int, free: int) -> None:
        """Positions into the residual stream, the image beside it, patches added to both.

        The positions may be loaded once ``free`` compute descriptors have finished; the image once
        the activations are no longer needed or, if there is room beside them, the image before.
        """
        c, hw = self.c, self.hw
        stride, lower = image_stride(self.config, hw), 2 * lower_half(hw.act_words // 2)
        beside = (act_words(self.config, hw) <= lower
                  and 2 * self.image_beats <= hw.act_words - lower)
        base = lower if beside else 0
        c.load("image", Target.IMAGE, np.zeros(0, np.uint8),
               (self.patched if beside else self.left)[-1] if frame else 0, dest_base=base)
        c.descriptors[-1]["beats"] = self.image_beats
        c.load("position", Target.RESIDUAL, residual_rows(c.tensor("position")), free,
               dest_base=self.base)
        c.layer("patch", rows=self.tokens - 1, source=Source.ACT, source_base=base,
                source_stride=stride, **self.residual() | {"dest_base": self.base + self.words})
        self.patched.append(c.computes)
        self.stream = self.after(by_row=True)

    def attention(self, name: str) -> None:
        """K, Q, V, the two products, the projection.

        Keys come first because the corner turn hands them on late.
        """
        c, config, hw = self.c, self.config, self.hw
        heads, head_dim = config.num_heads, config.head_dim
        sets, spread = sets_of(heads, self.tokens, head_dim, hw)
        context = self.tokens * self.words
        key_rows, _ = head_rows(self.tokens, head_dim, spread, hw)
        values = -(-heads // sets) * key_rows
        rows = {"rows": self.tokens, "source_stride": self.words}
        shape = {"heads": heads, "head_words": head_dim // hw.word,
                 "set_size": hw.gangs.index(hw.groups // sets), "spread": spread}
        norm = self.normalized(f"{name}.norm1")
        c.layer(f"{name}.k", source=Source.NORMED, dest=Dest.KEY,
                dest_stride=key_rows - head_dim, **rows, **shape, **norm)
        c.layer(f"{name}.q", source=Source.NORMED, dest=Dest.ACT, dest_stride=self.words, **rows)
        c.layer(f"{name}.v", source=Source.NORMED, dest=Dest.VALUE, dest_base=values,
                dest_stride=self.tokens, **rows, **shape)
        multiplier = c.tensor(f"{name}.attention.multiplier").repeat(hw.word)
        param = c.parameters(f"{name}.attention", np.zeros_like(multiplier), multiplier)
        c.compute(f"{name}.attention", {
            "opcode": Opcode.ATTENTION, "mode": c.mode, "columns": head_dim, "param_base": param,
            "norm_base": values, "dest_base": context,
            "shift": (int(c.tensor(f"{name}.attention.shift")) - 14) // 4,
            "kappa22": int(c.tensor(f"{name}.attention.kappa22")),
            "kappa26": int(c.tensor(f"{name}.attention.kappa26")), **rows, **shape,
            **self.after(by_row=True),
        })
        c.layer(f"{name}.proj", source=Source.ACT, source_base=context, **rows,
                **self.residual(), **self.after(by_row=True))
        self.stream = self.after(by_row=True)

    def mlp(self, name: str) -> None:
        """Two dense layers with the activation table between them."""
        c, hidden = self.c, self.config.hidden_dim // self.hw.word
        norm = self.normalized(f"{name}.norm2")
        bank, zero_point = c.table(f"{name}.gelu")
        c.layer(f"{name}.fc1", rows=self.tokens, source=Source.NORMED, source_stride=self.words,
                dest=Dest.HIDDEN, dest_stride=hidden, bank=bank, **norm)
        c.layer(f"{name}.fc2", rows=self.tokens, source=Source.ACT, source_stride=hidden,
                operand_signed=0, zero_point=zero_point, **self.residual(),
                **self.after(by_row=True))
        c.tables.use(bank, 1, c.computes - 1)
        self.stream = self.after(by_row=True)

    def experts(self, name: str) -> None:
        """The task's gate, then expert by expert over its tokens, the most used first.

        An expert's second layer follows the next expert's first, whose results do not hold it up.
        The weights of experts that calibration always needed are loaded ahead of the gate.
        """
        c, config = self.c, self.config
        norm = self.normalized(f"{name}.norm2")
        gate = f"{name}.gate.{c.task}"
        weight = c.tensor(f"{gate}.weight").astype(np.int64)
        low = (weight + 128) % 256 - 128
        planes = np.stack([(weight - low) >> 8, low], axis=1).reshape(-1, config.embed_dim)
        c.linear(gate, planes, rows=self.tokens, source=Source.NORMED, source_stride=self.words,
                 dest=Dest.GATE, num_experts=config.num_experts, top_k=config.top_k,
                 multiplier=int(c.tensor(f"{gate}.multiplier")),
                 shift=(int(c.tensor(f"{gate}.shift")) - 14) // 4, **norm)
        c.gate = c.computes
        bank, zero_point = c.table(f"{name}.gelu")
        total, least = c.tensor(f"{gate}.usage")
        order = np.argsort(-total.astype(np.int64), kind="stable").tolist()
        c.certain = frozenset(np.flatnonzero(least).tolist())
        made: list[int] = []
        for turn in range(len(order) + 1):
            if turn < len(order):
                self.expert_in(name, order[turn], turn, bank)
                made.append(c.computes)
            if turn:
                self.expert_out(name, order[turn - 1], turn - 1, zero_point, made[turn - 1])
        c.tables.use(bank, 1, c.computes - 1)
        self.stream = self.after(by_row=False)

    def hidden(self, turn: int) -> tuple[int, int]:
        """Return first word and stride of an expert's hidden values, in turns with the next's."""
        stride = self.config.expert_dim // self.hw.word
        return turn % 2 * self.tokens * stride, stride

    def expert_in(self, name: str, expert: int, turn: int, bank: int) -> None:
        """Place an expert's first layer, for the tokens in its queue."""
        base, stride = self.hidden(turn)
        self.c.layer(f"{name}.experts.fc1", expert=expert, rows=self.tokens, source=Source.NORMED,
                     source_stride=self.words, gather=1, dest=Dest.HIDDEN, dest_base=base,
                     dest_stride=stride, bank=bank, wait_computes=self.c.gate)

    def expert_out(self, name: str, expert: int, turn: int, zero_point: int, after: int) -> None:
        """Place an expert's second layer, back to the tokens in its queue."""
        base, stride = self.hidden(turn)
        self.c.layer(f"{name}.experts.fc2", expert=expert, rows=self.tokens, source=Source.ACT,
                     source_base=base, source_stride=stride, scatter=1, operand_signed=0,
                     zero_point=zero_point, wait_computes=after,
                     **self.residual() | {"dest": Dest.COMBINE})

    def head(self) -> None:
        """The task's head on the class token, behind the tokens in the residual stream."""
        norm = self.normalized("norm")
        self.c.layer(f"head.{self.c.task}", rows=1, source=Source.NORMED,
                     source_stride=self.words, dest=Dest.OUTPUT,
                     dest_base=self.base + self.tokens * self.words, dest_stride=0, **norm)
