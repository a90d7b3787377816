"""Keys and values to the rows of the compute unit's second memory.

Values arrive by token, and a token's ``head_dim`` elements are lanes: row ``token`` of the
head's tile. Keys arrive turned, ``word`` tokens of one dimension: row ``dimension`` of the
tokens' tile. Either way a word is half a row.
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import beat, requantized
from rtl.program import DESCRIPTOR


class KvWriter(wiring.Component):
    """Compute the row and half of every word of keys and values.

    With ``h`` the head, ``d`` the dimension, ``t`` the token and ``L`` the lanes: the value is in
    row ``base + (h * ceil(head_dim / L) + d // L) * tokens + t``, lane ``d % L``; the key in row
    ``base + (h * ceil(tokens / L) + t // L) * head_dim + d``, lane ``t % L``.

    Members
    -------
    descriptor, start : ``In(DESCRIPTOR)``, ``In(1)``
        ``dest_stride`` is ``tokens`` for values and ``(ceil(tokens / L) - 1) * head_dim`` for
        keys.
    values : ``In(stream.Signature(requantized(hw)))``
        Words of values; the tag's address is right for a row's first word. Always taken.
    keys : ``In(stream.Signature(beat(signed(8), hw.word)))``
        Turned words; ``last`` ends a block of ``word`` tokens. Always taken.
    write : ``Out``
        ``en`` by half, ``row``, ``data``.
    finished : ``Out(1)``
        The last key of the operator is being written.

    Timing
    ------
    Words are written in the cycle they arrive.
    """

    values: stream.Interface
    keys: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        half = data.ArrayLayout(signed(8), hw.word)
        super().__init__({
            "descriptor": In(DESCRIPTOR), "start": In(1),
            "values": In(stream.Signature(requantized(hw))),
            "keys": In(stream.Signature(beat(signed(8), hw.word))),
            "write": Out(data.StructLayout({"en": 2, "row": 16, "data": half})),
            "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.values.ready.eq(1), self.keys.ready.eq(1)]
        with m.If(self.values.valid):
            self.write_values(m)
        self.write_keys(m)

        return m

    def write_values(self, m: Module):
        """Walk the tiles of one token's row."""
        given, word = self.descriptor, self.values.p
        next_row, next_half, next_word = Signal(16), Signal(), Signal(8)
        row, half, position = Signal(16), Signal(), Signal(8)
        end_head = Signal()
        m.d.comb += [
            row.eq(next_row), half.eq(next_half), position.eq(next_word),
            end_head.eq(position + 1 == given.head_words),
            self.write.en.eq(Mux(half, 2, 1)), self.write.row.eq(row),
        ]
        m.d.comb += [self.write.data[n].eq(word.data[n]) for n in range(self.hw.word)]
        with m.If(word.tag.first):
            m.d.comb += [row.eq(word.tag.address), half.eq(0), position.eq(0)]
        m.d.sync += [
            next_row.eq(Mux(half | end_head, row + given.dest_stride, row)),
            next_half.eq(~half & ~end_head),
            next_word.eq(Mux(end_head, 0, position + 1)),
        ]

    def write_keys(self, m: Module):
        """Walk the dimensions of one block of tokens."""
        given = self.descriptor
        row, tile, half = Signal(16), Signal(16), Signal()
        dimension, tokens = Signal(16), Signal(16)
        head_dim, next_tile, next_tokens = Signal(16), Signal(16), Signal(16)
        m.d.comb += [
            head_dim.eq(given.head_words * self.hw.word),
            next_tile.eq(Mux(half, tile + head_dim, tile)),
            next_tokens.eq(tokens + self.hw.word),
        ]
        with m.If(self.start):
            m.d.sync += [row.eq(given.dest_base), tile.eq(given.dest_base), half.eq(0),
                         dimension.eq(0), tokens.eq(0)]
        with m.Elif(self.keys.valid):
            m.d.comb += [
                self.write.en.eq(Mux(half, 2, 1)), self.write.row.eq(row),
                self.write.data.eq(self.keys.p.data),
                self.finished.eq(self.keys.p.last & (next_tokens >= given.rows)),
            ]
            with m.If(dimension + 1 == head_dim):
                m.d.sync += [dimension.eq(0), row.eq(row + 1 + given.dest_stride)]
            with m.Else():
                m.d.sync += [dimension.eq(dimension + 1), row.eq(row + 1)]
            with m.If(self.keys.p.last):
                m.d.sync += [dimension.eq(0), row.eq(next_tile), tile.eq(next_tile),
                             half.eq(~half), tokens.eq(next_tokens)]
