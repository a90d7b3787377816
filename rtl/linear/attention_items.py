"""The items of attention: rows of scores, and ``lag`` rows later their sums of values.

For every row of scores ``r``, a token and a head: one item for each pass over the tiles of keys,
then one for each pass over those of values of row ``r - lag``. A pass is ``2**spread`` tiles, and
``2**head_split`` gangs of as many groups hold parts of its sums; of values, a pass is
``2**value_spread`` tiles, and as many more gangs hold parts. A key that would be alone in its pass
has none if the descriptor says ``last_key``: its score is one more word of the pass before, which
:class:`deltamoe.rtl.attention.last_key.LastKey` makes of that item's operands.

::

    token, head, pass ──► last? + bases ──►│──► scores or values ──►│──► o
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.attention.head_parts import part_rows
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Source
from deltamoe.rtl.formats import item
from deltamoe.rtl.interfaces import Operator
from deltamoe.rtl.record import Record


class Phase(enum.Enum, shape=1):
    """Product that the next item belongs to."""

    SCORES = 0
    VALUES = 1


class Position(wiring.Signature):
    """Where one of the two products is.

    Members
    -------
    address, head, set : ``Out(range(hw.act_words))``, ``Out(8)``, ``Out(range(hw.groups))``
        Words of the token's row before the head; the head, and its set of groups.
    words_done, row : ``Out(range(hw.depth_words))``, ``Out(range(hw.kv_rows))``
        Words before the pass, and the pass's first weight row.
    number, done : ``Out(range(hw.score_rows))``, ``Out(1)``
        Rows before; all rows are done.
    words, count : ``Out(range(hw.item_words + 1))``, ``Out(range(hw.word + 1))``
        Words of this pass, and valid elements of its last, a cycle later than the above.
    first, last, last_head, flush : ``Out(1)``
        First, last pass of its row; last head; last token, a cycle later too.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "address": Out(range(hw.act_words)), "head": Out(8), "set": Out(range(hw.groups)),
            "words_done": Out(range(hw.depth_words)), "row": Out(range(hw.kv_rows)),
            "number": Out(range(hw.score_rows)), "words": Out(range(hw.item_words + 1)),
            "count": Out(range(hw.word + 1)),
            "first": Out(1), "last": Out(1), "last_head": Out(1), "flush": Out(1),
            "done": Out(1),
        })


class Cursor(wiring.Component):
    """Position of one of the two products: token, head, pass.

    Parameters
    ----------
    hw : HwConfig
        Geometry.
    phase : Phase
        Which product; its tiles are spread over groups of its own number.

    Members
    -------
    step : ``In(1)``
        Advance by one pass, not in two cycles one after the other.
    start : ``In(1)``
        Back to the first.
    elements : ``In(range(hw.max_depth + 1))``
        Elements of a row: tokens or ``head_dim``.
    depth : ``In(range(hw.max_depth + 1))``
        Weight rows of a pass.
    stride : ``In(16)``
        Words from token to token.
    descriptor : ``In(DESCRIPTOR)``
        Counts.
    at : ``Out(Position(hw))``
        Where it is.
    """

    record = Record(moves="counts tokens, heads and passes")

    def __init__(self, hw: HwConfig, phase: Phase = Phase.SCORES) -> None:
        self.hw, self.phase = hw, phase
        super().__init__({
            "step": In(1), "start": In(1), "elements": In(range(hw.max_depth + 1)),
            "depth": In(range(hw.max_depth + 1)), "stride": In(16),
            "descriptor": In(DESCRIPTOR), "at": Out(Position(hw)),
        })

    def spread(self, given):
        """Groups that a pass is spread over, as a power of two."""
        return given.spread if self.phase is Phase.SCORES else given.value_spread

    def alone(self):
        """Whether the last of the elements takes no pass; None where that cannot be."""
        keys = self.hw.last_key and self.phase is Phase.SCORES
        return self.descriptor.attention.last_key if keys else None

    def elaborate(self, platform):
        m = Module()
        given, hw, at = self.descriptor.attention, self.hw, self.at
        token, token_address = Signal(range(hw.max_tokens)), Signal.like(at.address)
        last_set, ends, tail = Signal(), Signal(), Signal(range(hw.word))
        all_words = Signal(range(hw.depth_words + 1))
        alone, leap = self.alone(), self.depth
        rounded, left = self.elements + hw.word - 1, all_words - at.words_done
        if alone is not None:
            rounded, left = self.elements + Mux(alone, 0, hw.word - 1), left + alone
            leap = Signal(range(hw.kv_rows))
            m.d.sync += leap.eq(Mux(alone, self.depth << 1, self.depth))
        sets, base = Signal(range(hw.groups + 1)), Signal.like(at.row)
        width = Signal(range(2 * hw.groups + 1))

        with m.Switch(given.set_size):
            for index, size in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.sync += sets.eq(hw.groups // size)
        m.d.comb += ends.eq(at.words_done + width >= all_words)
        m.d.sync += [
            width.eq(2 << self.spread(given)),
            tail.eq(self.elements % hw.word),
            all_words.eq(rounded // hw.word),
            at.last_head.eq(at.head + 1 == given.heads), last_set.eq(at.set + 1 == sets),
            at.first.eq(at.words_done == 0), at.last.eq(ends),
            at.words.eq(Mux(ends, left, width)),
            at.count.eq(Mux(ends & (tail != 0), tail, hw.word)),
            at.flush.eq(token + 1 == given.rows),
        ]
        with m.If(self.start):
            m.d.sync += [
                token.eq(0), token_address.eq(0), at.head.eq(0), at.words_done.eq(0),
                at.address.eq(0), at.row.eq(0), at.number.eq(0), at.done.eq(0),
                at.set.eq(0), base.eq(0),
            ]
        with m.Elif(self.step):
            m.d.sync += [at.words_done.eq(at.words_done + width),
                         at.row.eq(at.row + self.depth)]
            with m.If(at.last):
                m.d.sync += [
                    at.words_done.eq(0), at.number.eq(at.number + 1),
                    at.head.eq(at.head + 1), at.address.eq(at.address + given.head_words),
                    at.done.eq(at.last_head & at.flush),
                    at.set.eq(at.set + 1), at.row.eq(base),
                ]
                with m.If(last_set):
                    m.d.sync += [at.set.eq(0), base.eq(at.row + leap),
                                 at.row.eq(at.row + leap)]
                with m.If(at.last_head):
                    m.d.sync += [
                        at.head.eq(0), at.set.eq(0), at.row.eq(0), base.eq(0),
                        token.eq(token + 1),
                        token_address.eq(token_address + self.stride),
                        at.address.eq(token_address + self.stride),
                    ]

        return m


class AttentionItems(wiring.Component):
    """Interleave the two products.

    Members
    -------
    operator, o
        As in :class:`deltamoe.rtl.linear.item_generator.ItemGenerator`.

    Timing
    ------
    The first item is on ``o`` three cycles after ``start``, then one every two cycles: what follows
    from a position is in registers in the cycle after the step to it.
    """

    record = Record(moves="orders items")

    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "operator": In(Operator()), "o": Out(stream.Signature(item(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        given, lag = self.operator.descriptor.attention, self.hw.attention_lag
        m.submodules.scores = scores = Cursor(self.hw, Phase.SCORES)
        m.submodules.values = values = Cursor(self.hw, Phase.VALUES)
        value_split = Signal(3)
        splits = given.head_split, value_split
        phase, primed, running, step = Signal(Phase), Signal(), Signal(), Signal()
        settled, ahead = Signal(), Signal()

        m.d.comb += [
            scores.descriptor.eq(self.operator.descriptor),
            values.descriptor.eq(self.operator.descriptor),
            scores.stride.eq(given.source_stride), values.stride.eq(given.dest_stride),
            scores.start.eq(self.operator.start), values.start.eq(self.operator.start),
            scores.elements.eq(given.rows), values.elements.eq(given.head_dim),
            step.eq(running & settled & (self.o.ready | ~self.o.valid)),
            scores.step.eq(step & (phase == Phase.SCORES)),
            values.step.eq(step & (phase == Phase.VALUES)),
        ]
        m.d.sync += [
            primed.eq(self.operator.start), settled.eq(~step), ahead.eq(scores.at.number >= lag),
            value_split.eq(given.spread + given.head_split - given.value_spread),
            *(cursor.depth.eq(part_rows(length, split, self.hw)) for cursor, length, split in zip(
                (scores, values), (given.head_dim, given.rows), splits, strict=True)),
        ]
        with m.If(primed):
            m.d.sync += [running.eq(1), phase.eq(Phase.SCORES)]
        with m.Elif(scores.step & scores.at.last
                    & (ahead | (scores.at.flush & scores.at.last_head))):
            m.d.sync += phase.eq(Phase.VALUES)
        with m.Elif(values.step & values.at.last):
            with m.If(~scores.at.done):
                m.d.sync += phase.eq(Phase.SCORES)
            with m.If(values.at.flush & values.at.last_head):
                m.d.sync += running.eq(0)
        items = [self.fields(m, cursor, split)
                 for cursor, split in zip((scores, values), splits, strict=True)]
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [self.o.valid.eq(running & settled),
                         self.o.payload.eq(Mux(phase == Phase.SCORES, *items))]
            m.d.sync += self.leaders(m, Mux(phase == Phase.SCORES, scores.at.set, values.at.set))

        return m

    def leaders(self, m: Module, number):
        """Assignments of the groups of a set that an item's span may begin at."""
        given, made, hw = self.operator.descriptor.attention, self.o.p, self.hw
        inside, spans, few = Signal(hw.groups), Signal(hw.groups), Signal()
        level = Signal(3)
        m.d.comb += level.eq(given.spread + given.head_split)
        with m.Switch(given.set_size):
            for index, size in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += inside.eq(Cat(number == n // size for n in range(hw.groups)))
        with m.Switch(level):
            for power in hw.spreads(hw.groups):
                with m.Case(power):
                    m.d.sync += spans.eq(sum(1 << n for n in range(0, hw.groups, 1 << power)))
        m.d.sync += few.eq(0)
        with m.Switch(Cat(given.set_size, level)):
            for index, size in enumerate(hw.gangs):
                for power in hw.spreads(size):
                    if 2 << power >= size:
                        with m.Case(power << len(given.set_size) | index):
                            m.d.sync += few.eq(1)
        return [made.leads.eq(inside & spans), made.few.eq(few)]

    def fields(self, m: Module, cursor: Cursor, split):
        """Return the item at ``cursor``, a cycle later, for ``2**split`` parts of its sums."""
        given, at, hw = self.operator.descriptor.attention, cursor.at, self.hw
        settled, complete = (Signal(item(hw), name=f"{name}_{cursor.phase.name.lower()}")
                             for name in ("settled", "made"))
        is_values = cursor.phase is Phase.VALUES
        slot = at.number[: hw.attention_lag.bit_length()]
        length = given.rows if is_values else given.head_dim
        tail = length % hw.word
        sizes = Array(hw.gangs.index(1 << spread) for spread in hw.spreads(hw.groups))
        gang, span = sizes[cursor.spread(given)], sizes[given.spread + given.head_split]
        m.d.sync += [
            settled.address.eq(slot * hw.row_words if is_values
                               else given.source_base + at.address),
            settled.words.eq((length + hw.word - 1) // hw.word),
            settled.tail.eq(Mux(tail == 0, hw.word, tail)),
            settled.row.eq(at.row + (given.value_base if is_values else given.key_base)),
            settled.need.eq(at.number + 1 if is_values else 0),
            settled.drained.span.eq(span), settled.drained.gang.eq(gang),
            settled.drained.split.eq(split),
            settled.drained.address.eq(given.dest_base + at.address + at.words_done),
            settled.drained.param.eq(given.param_base + at.head), settled.drained.slot.eq(slot),
        ]
        m.d.comb += [
            complete.eq(settled),
            complete.source.eq(Source.PROBABILITIES if is_values else Source.ACT),
            complete.operand_signed.eq(not is_values), complete.kv.eq(1),
            complete.columns.eq((at.words - 1) * hw.word + at.count),
            complete.drained.words.eq(at.words), complete.drained.count.eq(at.count),
            complete.drained.dest.eq(Dest.ACT if is_values else Dest.SCORES),
            complete.drained.normalize.eq(int(is_values)),
            complete.drained.first.eq(at.first),
            complete.drained.last.eq(at.last & (at.last_head if is_values else 1)),
            complete.drained.flush.eq(at.flush),
            complete.drained.final.eq((at.flush & at.last & at.last_head) if is_values else 0),
        ]
        if hw.last_key:
            m.d.comb += complete.extra.eq(0 if is_values else at.last & given.last_key)
        return complete.as_value()
