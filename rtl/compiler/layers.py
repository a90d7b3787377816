"""Linear layers as descriptors: cut into pieces, spread over the groups, kept by their policy."""

from dataclasses import replace
from functools import partial

import numpy as np

from deltamoe.golden.numerics import SHIFTS
from deltamoe.golden.operators import Operator
from deltamoe.golden.temporal.policy import REMEMBERING, Choice, Policy
from deltamoe.rtl.compiler.layout import columns_of
from deltamoe.rtl.compiler.placement import pieces_of
from deltamoe.rtl.compiler.streaming import Streaming
from deltamoe.rtl.compiler.tiles import sum_parts
from deltamoe.rtl.label import Role, Section, Subject
from deltamoe.rtl.program import Dest, Linear, Load, Mode, Source, Target

MODES = {Policy.DENSE: Mode.DENSE, Policy.ZERO_SKIP: Mode.ZERO_SKIP, Policy.DELTA: Mode.DELTA,
         Policy.TOKEN_GATE: Mode.DENSE}
"""How a layer is executed; what is behind a token gate computes all of the tokens it gets."""

class Layers(Streaming):
    """Adds layers; one method for what they load, one for each thing that is kept of them."""

    def replay(self, product: Operator, layer: Linear) -> None:
        """Add what a layer made for the tokens that did not change, once more."""
        hw, size = self.hw, layer.columns // self.hw.word
        self.params.use(layer.param_base, size, self.computes)
        self.compute(product, replace(
            layer, mode=Mode.REPLAY, queue=layer.queue + hw.max_experts, stores=False,
            depth=hw.word, weight_base=0, passes=0, source_base=0, source_stride=0, wide=False,
            wait_computes=self.gate, by_row=False), Role.REPLAY)

    def layer(self, operator: Operator, layer: Linear, *, expert: int | None = None,
              operand: Subject | None = None, slots: int = 0, row: int | None = None,
              scratch: int = 0) -> None:
        """Add a linear layer of the model, its bias as its mode needs it.

        ``layer`` says all but what its weights and its policy decide; it ``keeps`` its operand if
        another layer behind this one shares it. Keys and values stay whole; any other layer may be
        cut into pieces of its columns. ``expert`` selects its weights and its tokens. ``operand``
        names the reference of a delta layer that shares it. ``slots`` is how often a token's sums
        are kept behind a gate. ``row`` is the first of a tile of its rows, None if it has all.
        Sums that are too long are computed in parts, of which all but the last leave what they make
        in the memory of activations from word ``scratch`` on.
        """
        choice, product, load = self.keeping.choices[operator], operator, None
        operand, keeps = operand or operator, layer.keeps
        weight, bias, multiplier = (self.tensor(f"{operator}.{part}", expert)
                                    for part in ("weight", "bias", "multiplier"))
        layer = replace(layer, mode=MODES[choice.policy], keeps=False,
                        shift=SHIFTS.index(int(self.tensor(f"{operator}.shift"))))
        bias = bias.astype(np.int64)
        if layer.mode == Mode.ZERO_SKIP:
            bias += layer.zero_point * weight.astype(np.int64).sum(-1)
        if expert is not None:
            layer = replace(layer, queue=expert)
            load = Load(skip_if_empty=True, expert=expert, routed=self.gate)
            product = operator.of_expert(expert)
        count, depth = weight.shape
        if row is not None or depth > self.hw.max_depth:
            self.in_parts(product, choice, layer, weight, bias, multiplier, row, scratch)
            return
        for columns in self.pieces(product, depth, count, layer):
            part, before = slice(columns.start, columns.stop), columns.start // self.hw.word
            piece, blocks = replace(layer, dest_base=layer.dest_base + before), None
            if choice.policy == Policy.DELTA:
                piece = replace(piece, keeps=columns.stop < count or (keeps and expert is None))
            if choice.policy == Policy.DELTA and expert is not None:
                piece = self.by_place(operator, choice, piece, before)
            elif choice.policy == Policy.DELTA and product in self.keeping.streamed:
                blocks = partial(self.blocks, product, before, operand, choice)
            elif choice.policy == Policy.DELTA:
                piece = self.kept(product, operand, choice, piece, count, before)
            if slots:
                piece = self.slots(operator, piece, slots, before)
            last = self.linear(product, piece, weight[part], biases=bias[part],
                               multipliers=multiplier[part], load=load, blocks=blocks)
            if slots:
                self.replay(product, last)
            layer = replace(layer, norm=False)

    def in_parts(self, product: Operator, choice: Choice, layer: Linear, weight: np.ndarray,
                 bias: np.ndarray, multiplier: np.ndarray, row: int | None, scratch: int) -> None:
        """Add a tile of a layer's rows, each piece of its columns in parts of their sums."""
        if choice.policy in REMEMBERING:
            raise ValueError(f"{product}: {self.hw.name} computes it in parts, and executes only "
                             f"dense and zero-skip of these, not {choice.policy}")
        hw, (count, depth) = self.hw, weight.shape
        parts = sum_parts(depth, hw)
        if len(parts) > 1:
            self.bound(product, weight, bias, layer)
        for columns in self.pieces(product, len(parts[0]), count, layer):
            part, before = slice(columns.start, columns.stop), columns.start // hw.word
            state = 0
            if len(parts) > 1:
                state, *_ = self.windows[Target.STATE].take(
                    layer.rows * (columns_of(len(columns), hw) // hw.word), product)
            for inner in parts:
                final = inner.stop == depth
                piece = replace(
                    layer, source_base=layer.source_base + inner.start // hw.word,
                    adds=inner.start > 0, stores=not final, state_base=state)
                piece = replace(piece, dest_base=piece.dest_base + before) if final else replace(
                    piece, dest=Dest.ACT, dest_base=scratch, dest_stride=0)
                self.linear(product, piece, weight[part, inner.start : inner.stop],
                            biases=bias[part] if final else None,
                            multipliers=multiplier[part] if final else None,
                            section=Section(row or 0, inner.start))
            layer = replace(layer, norm=False)

    def pieces(self, product: Operator, depth: int, count: int, layer: Linear) -> list[range]:
        """Columns that are loaded together; if all rows are kept at a time, no more than fit."""
        hw, window = self.hw, self.windows[Target.STATE].depth
        if layer.dest in (Dest.KEY, Dest.VALUE):
            return [range(count)]
        pieces = pieces_of(depth, count, hw)
        if product in self.keeping.streamed and layer.source == Source.NORMED:
            words, rows = columns_of(len(pieces[0]), hw) // hw.word, layer.rows
            if rows * words > window:
                width = max(1, window // 2 // rows) * hw.word
                pieces = [range(first, min(first + width, whole.stop)) for whole in pieces
                          for first in range(whole.start, whole.stop, width)]
        return pieces

    def kept(self, product: Operator, operand: Subject, choice: Choice, layer: Linear, count: int,
             before: int) -> Linear:
        """Return a delta layer with where its operand and its sums are kept; any other as it is."""
        if choice.policy != Policy.DELTA:
            return layer
        rows, words = layer.rows, columns_of(count, self.hw) // self.hw.word
        return replace(
            layer, state_base=self.keeping.state.take(product, rows * words) + rows * before,
            reference_base=self.keeping.references.take(operand, rows * layer.source_stride),
            theta=choice.theta, fresh=self.fresh)

    def slots(self, operator: Operator, layer: Linear, slots: int, before: int) -> Linear:
        """Return a layer whose sums are kept by token, once for each of its experts."""
        places = slots * layer.rows
        state = self.base(operator, Target.STATE, places * layer.dest_stride)
        return replace(layer, state_base=state + before, places=places, slots=slots, stores=True)

    def by_place(self, operator: Operator, choice: Choice, layer: Linear, before: int) -> Linear:
        """Return an expert's delta layer: what is kept is found by token and expert."""
        slots = self.config.top_k
        places = slots * layer.rows
        state = self.base(operator, Target.STATE, places * layer.dest_stride)
        reference = self.base(operator, Target.REFERENCE, places * layer.source_stride)
        return replace(layer, state_base=state + before, reference_base=reference, places=places,
                       slots=slots, theta=choice.theta, fresh=self.fresh)
