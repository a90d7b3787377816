"""Linear layers as descriptors: cut into pieces, spread over the groups, kept by their policy."""

from collections.abc import Hashable, Iterable, Mapping

import numpy as np

from deltamoe.golden.numerics import PLANE, SHIFTS
from deltamoe.golden.operators import Operator
from deltamoe.golden.temporal.policy import Choice, Policy
from deltamoe.rtl.compiler import sums
from deltamoe.rtl.compiler.layout import columns_of, weight_tiles
from deltamoe.rtl.compiler.placement import pieces_of, place
from deltamoe.rtl.compiler.streaming import Streaming
from deltamoe.rtl.program import Dest, Mode, Opcode, Source, Target

MODES = {Policy.DENSE: Mode.DENSE, Policy.ZERO_SKIP: Mode.ZERO_SKIP, Policy.DELTA: Mode.DELTA,
         Policy.TOKEN_GATE: Mode.DENSE}
"""How a layer is executed; what is behind a token gate computes all of the tokens it gets."""


class Layers(Streaming):
    """Adds layers; one method for what they load, one for each thing that is kept of them."""

    def linear(self, name: str, weight: np.ndarray, *, rows: int,
               biases: np.ndarray | None = None, multipliers: np.ndarray | None = None,
               skip: Mapping[str, int] | None = None,
               blocks: Iterable[Mapping[str, int]] = ({},), **fields: int) -> dict[str, int]:
        """Load a layer and add its descriptor for each of its ``blocks``; return the last.

        ``skip`` holds ``skip_if_empty``, ``expert`` and ``routed`` of an expert's loads. An
        expert's weights wait for room more than its few rows for each other, so none is stored
        twice where events are sparse.
        """
        hw = self.hw
        skip = dict(skip or {})
        columns, depth = columns_of(len(weight), hw), weight.shape[1]
        sparse = fields["mode"] != Mode.DENSE and "places" not in fields
        placed = place(depth, columns, hw, sparse=sparse)
        wide = placed.wide(depth, hw) and fields["source"] == Source.ACT and (
            fields["mode"] in (Mode.DENSE, Mode.ZERO_SKIP)
            and fields.get("source_base", 0) % hw.read_words == 0
            and fields["source_stride"] % hw.read_words == 0)
        size = placed.passes * placed.rows
        base, after = self.weights.take(size, name)
        where = placed.fields(hw)
        self.load(f"{name}.weights", Target.WEIGHTS,
                  weight_tiles(weight, hw, placed.gang, placed.split,
                               hw.read_words if wide else 1), after, weight_base=base,
                  depth=placed.rows, columns=placed.passes * placed.span, **where, **skip)
        param, params = 0, 0
        if biases is not None and multipliers is not None:
            pad = (0, columns - len(biases))
            param = self.parameters(name, np.pad(biases, pad), np.pad(multipliers, pad),
                                    **({} if fields.get("stores") else skip))
            params = columns // hw.word
        self.bound(name, weight, biases, fields)
        made = {"opcode": Opcode.LINEAR, "rows": rows, "depth": depth, "columns": columns,
                "weight_base": base, "param_base": param, "operand_signed": 1,
                "wide": int(wide), **where, **fields}
        for block in blocks:
            made |= block
            self.weights.use(base, size, self.computes)
            self.params.use(param, params, self.computes)
            self.compute(name, made)
        return made

    def bound(self, name: str, weight: np.ndarray, biases: np.ndarray | None,
              fields: Mapping[str, int]) -> None:
        """Refuse a layer whose sums outgrow the accumulators, or whose logits the gate."""
        bias = 0 if biases is None else biases.astype(np.int64)
        given = {"operand_signed": bool(fields.get("operand_signed", 1)),
                 "zero_point": fields.get("zero_point", 0)}
        sums.check(name, sums.layer(weight, bias, Mode(fields["mode"]), **given), self.hw)
        if fields["dest"] == Dest.GATE:
            planes = weight.astype(np.int64)
            whole = (planes[0::2] << PLANE) + planes[1::2]
            sums.check(name, sums.layer(whole, 0, Mode.DENSE, **given), self.hw, PLANE)

    def replay(self, name: str, made: Mapping[str, int], **fields: int) -> None:
        """Add what a layer made for the tokens that did not change, once more."""
        hw, size = self.hw, made["columns"] // self.hw.word
        self.params.use(made["param_base"], size, self.computes)
        self.compute(f"{name}.replay", {
            **made, "mode": Mode.REPLAY, "expert": made["expert"] + hw.max_experts, "stores": 0,
            "depth": hw.word, "weight_base": 0, "passes": 0, "source_base": 0, "source_stride": 0,
            "wide": 0, **fields})

    def layer(self, operator: Operator, *, expert: int | None = None, queue: int | None = None,
              zero_point: int = 0, **fields) -> None:
        """Add a linear layer of the model, its bias as its mode needs it.

        Keys and values stay whole; any other layer may be cut into pieces of its columns.
        ``expert`` selects its weights and its tokens, ``queue`` only tokens. ``operand`` names the
        reference of a delta layer that shares it; ``keeps`` if another layer behind this one shares
        it. ``slots`` is how often a token's sums are kept behind a gate.
        """
        choice, product = self.keeping.choices[operator], operator
        slots, operand = fields.pop("slots", 0), fields.pop("operand", operator)
        mode = MODES[choice.policy]
        weight, bias, multiplier = (self.tensor(f"{operator}.{part}", expert)
                                    for part in ("weight", "bias", "multiplier"))
        bias = bias.astype(np.int64)
        if mode == Mode.ZERO_SKIP:
            bias += zero_point * weight.astype(np.int64).sum(-1)
        shift = int(self.tensor(f"{operator}.shift"))
        if expert is not None:
            fields |= {"expert": expert, "skip": {
                "skip_if_empty": 1, "expert": expert, "routed": self.gate}}
            product = operator.of_expert(expert)
        elif queue is not None:
            fields |= {"expert": queue}
        count, depth = weight.shape
        base, keeps = fields.pop("dest_base", 0), fields.pop("keeps", 0)
        for columns in self.pieces(product, depth, count, fields):
            part, before = slice(columns.start, columns.stop), columns.start // self.hw.word
            kept = {**fields, "dest_base": base + before}
            if choice.policy == Policy.DELTA and expert is not None:
                kept |= self.by_place(operand, choice, fields, before)
                kept["keeps"] = int(columns.stop < count)
            elif choice.policy == Policy.DELTA and product in self.keeping.streamed:
                kept["blocks"] = self.blocks(
                    product, before, operand, choice, kept,
                    columns_of(len(columns), self.hw) // self.hw.word,
                    keeps=bool(keeps or columns.stop < count))
            elif choice.policy == Policy.DELTA:
                kept |= self.kept(product, operand, choice, fields, count, before)
                kept["keeps"] = int(keeps or columns.stop < count)
            if slots:
                kept |= self.slots(operand, fields, slots, before)
            made = self.linear(
                str(product), weight[part], biases=bias[part], multipliers=multiplier[part],
                zero_point=zero_point, shift=SHIFTS.index(shift), mode=mode, **kept)
            if slots:
                self.replay(str(product), made, wait_computes=self.gate, by_row=0)
            fields["norm"] = 0

    def pieces(self, product: Operator, depth: int, count: int,
               fields: Mapping[str, int]) -> list[range]:
        """Columns that are loaded together; if all rows are kept at a time, no more than fit."""
        hw, window = self.hw, self.windows[Target.STATE].depth
        if fields["dest"] in (Dest.KEY, Dest.VALUE):
            return [range(count)]
        made = pieces_of(depth, count, hw)
        if product in self.keeping.streamed and fields["source"] == Source.NORMED:
            words, rows = columns_of(len(made[0]), hw) // hw.word, fields["rows"]
            if rows * words > window:
                width = max(1, window // 2 // rows) * hw.word
                made = [range(first, min(first + width, whole.stop)) for whole in made
                        for first in range(whole.start, whole.stop, width)]
        return made

    def kept(self, product: Operator, operand: Hashable, choice: Choice, fields: Mapping[str, int],
             count: int, before: int) -> dict[str, int]:
        """Fields of a delta layer: where its operand and its sums are kept."""
        if choice.policy != Policy.DELTA:
            return {}
        rows, words = fields["rows"], columns_of(count, self.hw) // self.hw.word
        return {
            "state_base": self.keeping.state.take(product, rows * words) + rows * before,
            "reference_base": self.keeping.references.take(
                operand, rows * fields["source_stride"]),
            "theta": choice.theta, "fresh": int(self.fresh),
        }

    def slots(self, operator: Operator, fields: Mapping[str, int], slots: int, before: int,
              ) -> dict[str, int]:
        """Fields of a layer whose sums are kept by token, once for each of its experts."""
        places = slots * fields["rows"]
        state = self.base(operator, Target.STATE, places * fields["dest_stride"])
        return {"state_base": state + before, "places": places, "top_k": slots, "stores": 1}

    def by_place(self, operator: Operator, choice: Choice, fields: Mapping[str, int],
                 before: int) -> dict[str, int]:
        """Fields of an expert's delta layer: what is kept is found by token and expert."""
        slots = self.config.top_k
        places = slots * fields["rows"]
        state = self.base(operator, Target.STATE, places * fields["dest_stride"])
        reference = self.base(operator, Target.REFERENCE, places * fields["source_stride"])
        return {"state_base": state + before, "reference_base": reference, "places": places,
                "top_k": slots, "theta": choice.theta, "fresh": int(self.fresh)}
