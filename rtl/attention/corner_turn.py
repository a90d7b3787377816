"""Rows of tokens to rows of dimensions: keys become the columns of the compute unit.

Element ``d`` of token ``i`` is kept in bank ``(d + i) % P``, so both a word of one token and the
``P`` tokens of one dimension lie in ``P`` different banks::

    i ──► rotate by token ──► banks ──►│──► tokens that are there ──►│──► rotate back ──► o
"""

from math import log2

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import beat, tokens
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record


def rotated(row: Value, places: Value, step: int) -> Value:
    """Return ``row`` rotated left by ``places * step`` bits, right if ``step`` is negative.

    One stage of multiplexers for each bit of ``places``. On ``zcu102`` the unit takes 2,160 LUTs
    with it, and up to 4,102 with one wide multiplexer, depending on how Yosys is shown that.
    """
    for bit, chosen in enumerate(places):
        row = Mux(chosen, row.rotate_left(step << bit), row)
    return row


class CornerTurn(cycles.CornerTurn, wiring.Component):
    """Transpose blocks of ``P = hw.word`` tokens.

    A block's words leave dimension by dimension; tokens missing from the last block are zero.
    :func:`deltamoe.golden.arithmetic.corner_turn.corner_turn` is its reference.

    Members
    -------
    i : ``In(stream.Signature(tokens(hw.word)))``
        Words of a token's row; ``last`` ends the row, ``flush`` marks the final token.
    o : ``Out(stream.Signature(beat(signed(8), hw.word)))``
        ``P`` tokens of one dimension; ``last`` ends the block.
    words : ``In(range(hw.embed_words + 1))``
        Words of a row, at most ``max_embed / P``.

    Timing
    ------
    A block whose last word came in cycle ``t`` leaves in ``P * words`` cycles from ``t + LATENCY``
    on, or behind the block before it without a gap. Two blocks are held, so a word can enter every
    cycle while one leaves. A register lies behind the banks: without it, memory, rotation and what
    follows would be 8.5 LUT levels on ``zcu102``.
    """

    record = Record(twin="arithmetic.corner_turn", area=Area(
        block=lambda hw: (Ram(8, 2 * hw.max_embed, hw.word),),
        grows=lambda hw: (hw.word, hw.word * log2(hw.word))))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(tokens(hw.word))),
            "o": Out(stream.Signature(beat(signed(8), hw.word))),
            "words": In(range(hw.embed_words + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        P, depth = self.hw.word, self.hw.max_embed
        full = Array(Signal(name=f"full_{n}") for n in range(2))
        held = Array(Signal(range(P + 1), name=f"held_{n}") for n in range(2))
        bank, token, word = Signal(), Signal(range(P)), Signal(range(self.hw.embed_words))
        given, taken = self.i.p, Signal()
        memories = []
        for n in range(P):
            m.submodules[f"bank_{n}"] = memory = BlockMemory(8, 2 * depth)
            memories.append((memory.write_port(), memory.read_port()))

        m.d.comb += [self.i.ready.eq(~full[bank]), taken.eq(self.i.valid & self.i.ready)]
        turned = rotated(given.data.as_value(), token, 8)
        for n, (write, _) in enumerate(memories):
            m.d.comb += [write.en.eq(taken), write.data.eq(turned.word_select(n, 8)),
                         write.addr.eq(bank * depth + word * P + token)]
        with m.If(taken):
            m.d.sync += word.eq(Mux(given.last, 0, word + 1))
            with m.If(given.last):
                m.d.sync += token.eq(token + 1)
                with m.If(given.flush | (token == P - 1)):
                    m.d.sync += [token.eq(0), bank.eq(~bank), full[bank].eq(1),
                                 held[bank].eq(token + 1)]
        self.emit(m, [read for _, read in memories], full, held)

        return m

    def emit(self, m: Module, reads, full, held):
        """Read a block dimension by dimension."""
        P, depth = self.hw.word, self.hw.max_embed
        bank, lane, word = Signal(), Signal(range(P)), Signal(range(self.hw.embed_words))
        places, turn = (Signal(range(P), name=name) for name in ("places", "turn"))
        filled, stored = Signal(P), Signal(8 * P)
        final, ends, reads_block, enable = Signal(), Signal(), Signal(), Signal()

        m.d.comb += [
            enable.eq(self.o.ready | ~self.o.valid),
            final.eq((lane == P - 1) & (word + 1 == self.words)),
        ]
        with m.If(enable):
            m.d.sync += [
                reads_block.eq(full[bank]), ends.eq(final), places.eq(lane),
                self.o.valid.eq(reads_block), self.o.p.last.eq(ends), turn.eq(places),
                stored.eq(Cat(read.data & filled[n].replicate(8) for n, read in enumerate(reads))),
            ]
            with m.If(full[bank]):
                m.d.sync += lane.eq(lane + 1)
                with m.If(lane == P - 1):
                    m.d.sync += word.eq(word + 1)
                with m.If(final):
                    m.d.sync += [word.eq(0), bank.eq(~bank), full[bank].eq(0)]
        for n, read in enumerate(reads):
            token = Signal(range(P), name=f"token_{n}")
            m.d.comb += [token.eq(n - lane), read.en.eq(enable),
                         read.addr.eq(bank * depth + word * P + token)]
            with m.If(enable):
                m.d.sync += filled[n].eq(token < held[bank])
        m.d.comb += self.o.p.data.eq(rotated(stored, turn, -8))
