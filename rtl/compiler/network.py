"""The operators of a network, in order, with what each of them waits for."""

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import SHIFTS
from deltamoe.golden.operators import QKV, Operator, Part, block
from deltamoe.rtl.compiler import sums
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.feed_forward import experts, mlp
from deltamoe.rtl.compiler.layers import MODES, Layers
from deltamoe.rtl.compiler.layout import image_rows, image_stride, residual_rows
from deltamoe.rtl.compiler.linker import link
from deltamoe.rtl.compiler.placement import head_rows, sets_of
from deltamoe.rtl.config import HwConfig, lower_half
from deltamoe.rtl.program import Dest, Opcode, Source, Target


def act_words(config: ModelConfig, hw: HwConfig) -> int:
    """Words of activations: queries and contexts, later the hidden values."""
    widest = max(2 * config.embed_dim, config.hidden_dim, 2 * config.expert_dim)
    return config.num_tokens * widest // hw.word


class Network:
    """Places the operators of one network."""

    def __init__(self, layers: Layers) -> None:
        self.c = layers
        self.config, self.hw = layers.config, layers.hw
        self.tokens = self.config.num_tokens
        self.words = self.config.embed_dim // self.hw.word
        self.image_beats = len(image_rows(self.blank(), self.config, self.hw)) // self.hw.bus_bytes
        self.stream: dict[str, int] = {}
        self.patched: list[int] = []
        self.left: list[int] = []
        self.stored: list[int] = []

    def program(self, frames: int, *, continues: bool) -> Program:
        """Place all operators and return the program."""
        c, config = self.c, self.config
        beats = self.tokens * self.words
        if config.num_classes:
            beats += -(-config.num_classes[c.task] // self.hw.word)
        for frame in range(frames):
            c.begin(fresh=frame == 0 and not continues)
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
            self.attention(layer)
            place = experts if config.is_moe(layer) else mlp
            self.stream = place(c, layer, self.normalized(f"{block(layer)}.norm2"),
                                self.residual())
        self.left.append(c.computes)
        if config.num_classes:
            self.head()
        c.compute("store", {"opcode": Opcode.STORE, "target": Target.RESIDUAL, "rows": 1,
                            "beats": beats, "norm_source": self.base})
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
        return {"wait_computes": self.c.made, "by_row": int(by_row and self.c.whole)}

    def embed(self, frame: int, free: int) -> None:
        """Positions into the residual stream, the image beside it, patches added to both.

        The positions may be loaded once ``free`` compute descriptors have finished; the image once
        the activations are no longer needed or, if there is room beside them, the image before.
        """
        c, hw = self.c, self.hw
        stride, row = image_stride(self.config, hw), hw.act_row
        lower = row * lower_half(hw.act_words // row)
        beside = (act_words(self.config, hw) <= lower
                  and 2 * self.image_beats <= hw.act_words - lower)
        base = lower if beside else 0
        c.load("image", Target.IMAGE, np.zeros(0, np.uint8),
               (self.patched if beside else self.left)[-1] if frame else 0, dest_base=base)
        c.descriptors[-1]["beats"] = self.image_beats
        c.load("position", Target.RESIDUAL, residual_rows(c.tensor("position")), free,
               dest_base=self.base)
        c.layer(Operator(Part.PATCH), rows=self.tokens - 1, source=Source.ACT, source_base=base,
                source_stride=stride, **self.residual() | {"dest_base": self.base + self.words})
        self.patched.append(c.computes)
        self.stream = self.after(by_row=True)

    def attention(self, layer: int) -> None:
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
        norm = self.normalized(f"{block(layer)}.norm1")
        q, k, v = (Operator(part, layer) for part in QKV)
        operand, name = c.keeping.operand(q), Operator(Part.ATTENTION, layer)
        one = operand != q
        share = {"operand": operand} if one else {}
        c.layer(k, source=Source.NORMED, dest=Dest.KEY, keeps=int(one),
                dest_stride=key_rows - head_dim, **rows, **shape, **norm, **share)
        c.layer(q, source=Source.NORMED, dest=Dest.ACT, dest_stride=self.words,
                keeps=int(one), **rows, **share)
        c.layer(v, source=Source.NORMED, dest=Dest.VALUE, dest_base=values,
                dest_stride=self.tokens, **rows, **shape, **share)
        sums.check(str(name), sums.attention(self.tokens, head_dim), hw)
        multiplier = c.tensor(f"{name}.multiplier").repeat(hw.word)
        param = c.parameters(str(name), np.zeros_like(multiplier), multiplier)
        c.compute(str(name), {
            "opcode": Opcode.ATTENTION, "columns": head_dim, "param_base": param,
            "mode": MODES[c.keeping.choices[name].policy],
            "norm_base": values, "dest_base": context,
            "shift": SHIFTS.index(int(c.tensor(f"{name}.shift"))),
            "kappa22": int(c.tensor(f"{name}.kappa22")),
            "kappa26": int(c.tensor(f"{name}.kappa26")), **rows, **shape,
            **self.after(by_row=True),
        })
        c.layer(Operator(Part.PROJ, layer), source=Source.ACT, source_base=context, **rows,
                **self.residual(), **self.after(by_row=True))
        self.stream = self.after(by_row=True)

    def head(self) -> None:
        """The task's head on the class token, behind the tokens in the residual stream."""
        norm = self.normalized("norm")
        self.c.layer(Operator(Part.HEAD, task=self.c.task), rows=1, source=Source.NORMED,
                     source_stride=self.words, dest=Dest.OUTPUT,
                     dest_base=self.base + self.tokens * self.words, dest_stride=0, **norm)
