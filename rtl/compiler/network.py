"""The operators of a network, in order, with what each of them waits for."""

from dataclasses import replace

import numpy as np

from deltamoe.golden.numerics import SHIFTS
from deltamoe.golden.operators import QKV, Operator, Part, block
from deltamoe.rtl.compiler import sums
from deltamoe.rtl.compiler.assembler import After, NetworkProgram
from deltamoe.rtl.compiler.feed_forward import experts, mlp
from deltamoe.rtl.compiler.layers import MODES, Layers
from deltamoe.rtl.compiler.layout import image_rows, image_stride, residual_rows
from deltamoe.rtl.compiler.linker import link
from deltamoe.rtl.compiler.placement import sets_of
from deltamoe.rtl.compiler.tiles import context_base, image_half, image_tiles, working_words
from deltamoe.rtl.config import lower_half
from deltamoe.rtl.program import Attention, Dest, Linear, Load, Source, Store, Target


class Network:
    """Places the operators of one network."""

    def __init__(self, layers: Layers) -> None:
        self.c = layers
        self.config, self.hw = layers.config, layers.hw
        self.tokens = self.config.num_tokens
        self.words = self.config.embed_dim // self.hw.word
        self.image_beats = len(image_rows(self.blank(), self.config, self.hw)) // self.hw.bus_bytes
        self.stream = After()
        self.patched: list[int] = []
        self.left: list[int] = []
        self.stored: list[int] = []

    def program(self, frames: int, *, continues: bool) -> NetworkProgram:
        """Place all operators and return the program."""
        c, config = self.c, self.config
        beats = self.tokens * self.words
        if config.num_classes:
            beats += -(-config.num_classes[c.task] // self.hw.word)
        for frame in range(frames):
            c.begin(fresh=frame == 0 and not continues)
            self.frame(frame, beats)
        c.halt()
        linked = link(config.name, c, frames, self.image_beats, beats, c.area)
        return NetworkProgram(**vars(linked), config=config, task=c.task, plan=c.plan)

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
        c.compute("store", Store(target=Target.RESIDUAL, beats=beats, base=self.base))
        self.stored.append(c.computes)

    def blank(self) -> np.ndarray:
        """Return an image of zeros."""
        config = self.config
        return np.zeros((config.image_channels, config.image_height, config.image_width), np.uint8)

    def residual(self) -> Linear:
        """Return an operator that adds to the residual stream."""
        return Linear(dest=Dest.RESIDUAL, dest_base=self.base, dest_stride=self.words)

    def normalized(self, name: str) -> Linear:
        """Return an operator that normalizes the residual stream as soon as it is final."""
        return self.stream.on(replace(
            self.c.norm(name), norm_source=self.base, source=Source.NORMED, rows=self.tokens,
            source_stride=self.words))

    def embed(self, frame: int, free: int) -> None:
        """Positions into the residual stream, the image beside it, patches added to both.

        The positions may be loaded once ``free`` compute descriptors have finished; the image once
        the activations are no longer needed or, if there is room beside them, the image before. An
        image that does not fit comes in tiles, in two places in turns.
        """
        c, config, hw = self.c, self.config, self.hw
        stride, row = image_stride(config, hw), hw.act_row
        lower = row * lower_half(hw.act_words // row)
        patches = image_tiles(config, hw)
        beside = (working_words(config, hw) <= lower
                  and 2 * self.image_beats <= hw.act_words - lower)
        places = [lower if beside else 0, image_half(config, hw)]
        last = self.patched if beside else self.left
        ends = [last[-1] if frame else 0] * 2
        for number, tile in enumerate(patches):
            base = places[number % 2]
            c.load("image", Load(
                target=Target.IMAGE, base=base, beats=-(-len(tile) * stride // 2),
                wait_computes=ends[-2]), np.zeros(0, np.uint8))
            if not number:
                c.load("position", Load(target=Target.RESIDUAL, base=self.base,
                                        wait_computes=free), residual_rows(c.tensor("position")))
            c.layer(Operator(Part.PATCH), replace(
                self.residual(), rows=len(tile), source=Source.ACT, source_base=base,
                source_stride=stride, operand_signed=True,
                dest_base=self.base + (config.prefix_tokens + tile.start) * self.words),
                row=tile.start if len(patches) > 1 else None)
            ends.append(c.computes)
        self.patched.append(c.computes)
        self.stream = c.after(by_row=True)

    def attention(self, layer: int) -> None:
        """K, Q, V, the two products, the projection.

        Keys come first because the corner turn hands them on late.
        """
        c, config, hw = self.c, self.config, self.hw
        heads, head_dim = config.num_heads, config.head_dim
        place = sets_of(heads, self.tokens, head_dim, hw)
        context = context_base(config, hw)
        key_rows, _ = place.rows(self.tokens, head_dim, hw)
        tile_rows = key_rows // -(-self.tokens // (hw.lanes << place.spread))
        values = -(-heads // place.sets) * key_rows
        shape = {"heads": heads, "head_words": head_dim // hw.word,
                 "set_size": hw.gangs.index(hw.groups // place.sets)}
        norm = self.normalized(f"{block(layer)}.norm1")
        plain = Linear(rows=self.tokens, source=Source.NORMED, source_stride=self.words,
                       operand_signed=True)
        q, k, v = (Operator(part, layer) for part in QKV)
        operand, name = c.keeping.operand(q), Operator(Part.ATTENTION, layer)
        one = operand != q
        share = operand if one else None
        c.layer(k, replace(norm, dest=Dest.KEY, key_gap=key_rows - tile_rows, keeps=one, **shape,
                           **place.key_fields),
                operand=share)
        c.layer(q, replace(plain, dest=Dest.ACT, dest_stride=self.words, keeps=one),
                operand=share)
        c.layer(v, replace(plain, dest=Dest.VALUE, dest_base=values, **shape, **place.value_fields),
                operand=share)
        sums.check_range(str(name), sums.attention(self.tokens, head_dim), hw)
        multiplier = c.tensor(f"{name}.multiplier").repeat(hw.word)
        param = c.parameters(name, np.zeros_like(multiplier), multiplier)
        c.compute(name, c.after(by_row=True).on(Attention(
            rows=self.tokens, source_stride=self.words, dest_base=context, dest_stride=self.words,
            mode=MODES[c.keeping.choices[name].policy],
            head_dim=head_dim, value_base=values, param_base=param,
            shift=SHIFTS.index(int(c.tensor(f"{name}.shift"))),
            kappa22=int(c.tensor(f"{name}.kappa22")),
            kappa26=int(c.tensor(f"{name}.kappa26")), value_spread=place.value_spread,
            last_key=place.last_key(self.tokens, hw),
            **shape, **place.key_fields)))
        c.layer(Operator(Part.PROJ, layer), c.after(by_row=True).on(replace(
            self.residual(), rows=self.tokens, source=Source.ACT, source_base=context,
            source_stride=self.words, operand_signed=True)))
        self.stream = c.after(by_row=True)

    def head(self) -> None:
        """The task's head on the class token, behind the tokens in the residual stream."""
        self.c.layer(Operator(Part.HEAD, task=self.c.task), replace(
            self.normalized("norm"), rows=1, dest=Dest.OUTPUT,
            dest_base=self.base + self.tokens * self.words))
