"""Matrices as descriptors: spread over the groups, with their weights and parameters."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from deltamoe.golden.numerics import PLANE
from deltamoe.rtl.compiler import sums
from deltamoe.rtl.compiler.assembler import Assembler
from deltamoe.rtl.compiler.layout import columns_of, joined, weight_tiles
from deltamoe.rtl.compiler.placement import place
from deltamoe.rtl.label import Section, Subject, What
from deltamoe.rtl.program import Dest, Linear, Load, Mode, Source, Target

Blocks = Callable[[Linear], Iterator[Linear]]
"""A layer to the blocks of rows that it comes in."""


class Matrices(Assembler):
    """Adds linear layers, whoever's they are."""

    def linear(self, subject: Subject, layer: Linear, weight: np.ndarray, *,
               biases: np.ndarray | None = None, multipliers: np.ndarray | None = None,
               load: Load | None = None, blocks: Blocks | None = None,
               section: Section | None = None) -> Linear:
        """Load a layer and add its descriptor for each of its ``blocks``; return the last.

        ``load`` tells whose loads are skipped when, of an expert's. An expert's weights wait for
        room more than its few rows for each other, so none is stored twice where events are
        sparse.
        """
        hw, load = self.hw, load or Load()
        columns, depth = columns_of(len(weight), hw), weight.shape[1]
        sparse = layer.mode != Mode.DENSE and not (layer.places or layer.remembers)
        placed = place(depth, columns, hw, sparse=sparse)
        wide = placed.wide(depth, hw) and layer.source == Source.ACT and (
            layer.mode in (Mode.DENSE, Mode.ZERO_SKIP)
            and layer.source_base % hw.read_words == 0
            and layer.source_stride % hw.read_words == 0)
        size = placed.passes * placed.rows
        base, after = self.weights.take(size, subject)
        self.load(subject, replace(
            load, target=Target.WEIGHTS, base=base, wait_computes=after,
            span=hw.gangs.index(placed.span), passes=placed.passes, tile_rows=placed.rows,
            tiles=placed.passes * placed.span), weight_tiles(
                weight, hw, placed.gang, placed.split, hw.read_words if wide else 1), What.WEIGHTS)
        param, params = 0, 0
        if biases is not None and multipliers is not None:
            pad = (0, columns - len(biases))
            param = self.parameters(subject, np.pad(biases, pad), np.pad(multipliers, pad),
                                    None if layer.stores else load)
            params = columns // hw.word
        self.bound(subject, weight, biases, layer)
        layer = replace(layer, depth=depth, columns=columns, weight_base=base, param_base=param,
                        wide=wide, **placed.fields(hw))
        block = layer
        for block in blocks(layer) if blocks else (layer,):
            self.weights.use(base, size, self.computes)
            self.params.use(param, params, self.computes)
            self.compute(subject, block, section=section)
        return block

    def bound(self, subject: Subject, weight: np.ndarray, biases: np.ndarray | None,
              layer: Linear) -> None:
        """Refuse a layer whose sums outgrow the accumulators, or whose logits the gate."""
        bias = 0 if biases is None else biases.astype(np.int64)
        operand = {"operand_signed": layer.operand_signed, "zero_point": layer.zero_point}
        sums.check_range(str(subject), sums.layer(weight, bias, layer.mode, **operand), self.hw)
        if layer.dest == Dest.GATE:
            whole = sums.layer(joined(weight), 0, Mode.DENSE, **operand)
            sums.check_range(str(subject), whole, self.hw, PLANE)
