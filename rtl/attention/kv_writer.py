"""Keys and values to the rows of the compute unit's second memory.

Values arrive by token, and a token's ``head_dim`` elements are lanes: row ``token`` of the
head's tile. Keys arrive turned, ``word`` tokens of one dimension: row ``dimension`` of the
tokens' tile. Either way a word is half a row.
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.arith.select import select
from deltamoe.rtl.attention.head_parts import part_of, part_rows
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR
from deltamoe.rtl.formats import beat, requantized
from deltamoe.rtl.interfaces import GroupWrite, Operator, kv_write
from deltamoe.rtl.record import Area, Record


class KvWriter(cycles.KvWriter, wiring.Component):
    """Compute the row and half of every word of keys and values.

    Head ``h`` is written to set ``h % sets`` of the groups, as their head ``n = h // sets``. With
    ``d`` the dimension, ``t`` the token, ``L`` the lanes and ``S = 2**spread``: the value is in
    row ``base + (n * ceil(head_dim / (L * S)) + d // (L * S)) * tokens + t`` of the groups ``g``
    with ``g % S == d // L % S``, lane ``d % L``; the key in row
    ``base + (n * ceil(tokens / (L * S)) + t // (L * S)) * head_dim + d`` of those with
    ``g % S == t // L % S``, lane ``t % L``. With ``head_split``, ``t`` of a value and ``d`` of a
    key stand for the row among those of their part, ``tokens`` and ``head_dim`` for the rows of a
    part, see :mod:`deltamoe.rtl.attention.head_parts`; and the groups are only those whose
    ``g // S`` is that part, modulo ``2**head_split``.

    Members
    -------
    descriptor : ``In(DESCRIPTOR)``
        Operator of the values; its ``rows`` are ``tokens``.
    key_operator : ``In(Operator())``
        Operator of the keys; its ``key_gap`` is ``ceil(tokens / (L * S)) - 1`` times the rows of
        a part of ``head_dim``.
    values : ``In(stream.Signature(requantized(hw), always_ready=True))``
        Words of values; the tag's address is right for a row's first word, its weight is the part.
    keys : ``In(stream.Signature(beat(signed(8), hw.word), always_ready=True))``
        Turned words; ``last`` ends a block of ``word`` tokens.
    write : ``Out(GroupWrite(hw, kv_write(hw)))``
        Half rows.
    finished : ``Out(1)``
        The last key of the operator is being written.

    Timing
    ------
    Words are written ``LATENCY`` cycles after they arrive, from a register. Values and keys never
    arrive together, since :class:`deltamoe.rtl.control.retirement.Retirement` drains values only
    when no keys are under way.
    """

    record = Record(moves="finds the place of keys and values", area=Area(
        grows=lambda hw: (hw.word, hw.groups)))

    values: stream.Interface
    keys: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "descriptor": In(DESCRIPTOR), "key_operator": In(Operator()),
            "values": In(stream.Signature(requantized(hw), always_ready=True)),
            "keys": In(stream.Signature(beat(signed(8), hw.word), always_ready=True)),
            "write": Out(GroupWrite(hw, kv_write(hw))), "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        word, finishes = GroupWrite(self.hw, kv_write(self.hw)).create(path=("word",)), Signal()
        self.write_values(m, word)
        self.write_keys(m, word, finishes)
        m.d.sync += [
            self.write.en.eq(word.en), self.write.address.eq(word.address),
            self.write.data.eq(word.data), self.write.groups.eq(word.groups),
            self.finished.eq(finishes),
        ]

        return m

    def members(self, m: Module, operator, set_number, member, part):
        """Return the number of sets, and the groups of one set that hold a word of a part."""
        sets, inside = Signal(range(self.hw.groups + 1)), Signal(self.hw.groups)
        holders, levels = Signal(self.hw.groups), Signal(3)
        first = self.counter()
        m.d.sync += levels.eq(operator.spread + operator.head_split)
        m.d.comb += first.eq(member | part << operator.spread[:2])
        with m.Switch(operator.set_size):
            for index, size in enumerate(self.hw.gangs):
                with m.Case(index):
                    m.d.comb += sets.eq(self.hw.groups // size)
                    with m.Switch(set_number):
                        for number in range(self.hw.groups // size):
                            with m.Case(number):
                                m.d.comb += inside.eq(((1 << size) - 1) << number * size)
        with m.Switch(levels):
            for level in self.hw.spreads(self.hw.groups):
                with m.Case(level):
                    m.d.comb += holders.eq(
                        sum(1 << n for n in range(0, self.hw.groups, 1 << level)) << first)
        return sets, inside & holders

    def rows(self, *names: str):
        """Return signals that are rows of the keys and values."""
        return (Signal(range(self.hw.kv_rows), name=name) for name in names)

    def counter(self):
        """Return a signal that counts the members of a set."""
        return Signal(max(1, len(self.hw.spreads(self.hw.groups)) - 1))

    def write_values(self, m: Module, write):
        """Walk the tiles of one token's row."""
        linear, word = self.descriptor.linear, self.values.p
        row, base, next_row, next_base = self.rows("row", "base", "next_row", "next_base")
        half, position, next_half, next_word = Signal(), Signal(8), Signal(), Signal(8)
        next_set, number = Signal(range(self.hw.groups)), Signal(range(self.hw.groups))
        next_member, member, end_pass = self.counter(), self.counter(), Signal()
        end_head, end_sets = Signal(), Signal()
        sets, groups = self.members(m, linear, number, member,
                                    word.tag.weight[: max(self.hw.splits)])
        (height,) = self.rows("height")
        m.d.sync += height.eq(part_rows(linear.rows, linear.head_split, self.hw))
        m.d.comb += [
            row.eq(next_row), base.eq(next_base), half.eq(next_half), position.eq(next_word),
            number.eq(next_set), member.eq(next_member),
            end_head.eq(position + 1 == linear.head_words), end_sets.eq(number + 1 == sets),
            end_pass.eq(half & (member + 1 == 1 << linear.spread)),
            write.en.eq(Mux(half, 2, 1) & self.values.valid.replicate(2)),
            write.address.eq(row), write.groups.eq(groups),
        ]
        m.d.comb += [write.data[n].eq(word.data[n]) for n in range(self.hw.word)]
        with m.If(word.tag.first):
            m.d.comb += [row.eq(word.tag.address), base.eq(word.tag.address), half.eq(0),
                         position.eq(0), number.eq(0), member.eq(0)]
        after = row + height
        with m.If(self.values.valid):
            m.d.sync += [
                next_base.eq(Mux(end_head & end_sets, after, base)),
                next_row.eq(Mux(end_head, Mux(end_sets, after, base), Mux(end_pass, after, row))),
                next_member.eq(Mux(end_head | end_pass, 0, member + half)),
                next_half.eq(~half & ~end_head), next_word.eq(Mux(end_head, 0, position + 1)),
                next_set.eq(Mux(end_head, Mux(end_sets, 0, number + 1), number)),
            ]

    def write_keys(self, m: Module, write, finishes):
        """Walk the dimensions of one block of tokens."""
        linear = self.key_operator.descriptor.linear
        row, base, tile, next_tile = self.rows("row", "base", "tile", "next_tile")
        height, line, step, leap = self.rows("height", "line", "step", "leap")
        half, number = Signal(), Signal(range(self.hw.groups))
        dimension, head_dim = (Signal(range(self.hw.max_embed)),
                               Signal(range(self.hw.max_embed + 1)))
        inside = dimension[: self.hw.word.bit_length() - 1]
        low, part = part_of(inside, linear.head_split, self.hw)
        tokens, next_tokens = (Signal(range(self.hw.max_tokens + self.hw.word), name=name)
                               for name in ("tokens", "next_tokens"))
        end_sets, end_pass, member = Signal(), Signal(), self.counter()
        m.d.comb += [
            end_pass.eq(half & (member + 1 == 1 << linear.spread)),
            head_dim.eq(linear.head_words * self.hw.word),
            next_tile.eq(Mux(end_pass, tile + height, tile)), row.eq(line + low),
            next_tokens.eq(tokens + self.hw.word),
        ]
        m.d.sync += [
            height.eq(part_rows(head_dim, linear.head_split, self.hw)), leap.eq(
                step + linear.key_gap), step.eq(select(linear.head_split, [
                    self.hw.word >> split for split in self.hw.splits], beyond=self.hw.word))]
        after = line + leap
        sets, groups = self.members(m, linear, number, member, part)
        m.d.comb += end_sets.eq(number + 1 == sets)
        with m.If(self.key_operator.start):
            m.d.sync += [line.eq(linear.dest_base), base.eq(linear.dest_base),
                         tile.eq(linear.dest_base), half.eq(0),
                         dimension.eq(0), tokens.eq(0), number.eq(0), member.eq(0)]
        with m.Elif(self.keys.valid):
            m.d.comb += [
                write.en.eq(Mux(half, 2, 1)), write.address.eq(row), write.groups.eq(groups),
                write.data.eq(self.keys.p.data),
                finishes.eq(self.keys.p.last & (next_tokens >= linear.rows)),
            ]
            with m.If(dimension + 1 == head_dim):
                m.d.sync += [
                    dimension.eq(0), number.eq(Mux(end_sets, 0, number + 1)),
                    line.eq(Mux(end_sets, after, base)), base.eq(Mux(end_sets, after, base)),
                ]
            with m.Else():
                m.d.sync += dimension.eq(dimension + 1)
                with m.If(inside.all()):
                    m.d.sync += line.eq(line + step)
            with m.If(self.keys.p.last):
                m.d.sync += [dimension.eq(0), line.eq(next_tile), base.eq(next_tile),
                             tile.eq(next_tile), number.eq(0), half.eq(~half),
                             member.eq(Mux(end_pass, 0, member + half)),
                             tokens.eq(next_tokens)]
