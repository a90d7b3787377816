"""The residual stream of every token, and the addition into it.

::

    word ──► address ──► memory ──►│──► saturate 16 ──► + ──► saturate 16 ──► memory
         └────────────────────────►│───────────────────┘
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import requantized
from rtl.program import Dest

WIDTH = 24
"""Bits kept of an element. Contributions of experts are added without saturation, and whoever
reads saturates to 16 bits, so ``x = sat16(x + sum of contributions)`` saturates once."""


def saturate16(value):
    """Clamp a signed value to 16 bits."""
    return Mux(value > 32767, 32767, Mux(value < -32768, -32768, value))


class Residual(wiring.Component):
    """Add words to the residual stream.

    ``RESIDUAL``: ``x = sat16(sat16(x) + y)``; ``COMBINE``: ``x = x + y``; ``OUTPUT``: ``x = y``.
    :func:`golden.residual.residual_add` is its reference.

    Members
    -------
    i : ``In(stream.Signature(requantized(hw)))``
        Words to add; the tag's address is the word's. Always taken.
    load : ``In``
        ``en``, ``address``, ``data``: a word of int16 that replaces what is there, in the other
        half of the memory than words added in the same cycle.
    address, enable, data : ``In(16)``, ``In(1)``, ``Out``
        Read port for normalization and output; data follow in the next cycle, saturated.

    Timing
    ------
    A word of cycle ``t`` can be read from cycle ``t + 2`` on. The same address must not follow
    within that time, which no operator does: each of its rows is written once.
    """

    LATENCY = 2
    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        word = data.ArrayLayout(signed(16), hw.word)
        super().__init__({
            "i": In(stream.Signature(requantized(hw))),
            "load": In(data.StructLayout({"en": 1, "address": 16, "data": word})),
            "address": In(16), "enable": In(1), "data": Out(word),
        })

    def elaborate(self, platform):
        m = Module()
        halves = [self.half(m, number) for number in range(2)]
        word, valid = Signal(requantized(self.hw)), Signal()

        m.d.sync += [word.eq(self.i.payload), valid.eq(self.i.valid)]
        m.d.comb += self.i.ready.eq(1)
        bits = (self.hw.residual_words // 2 - 1).bit_length()
        upper, own_upper, read_upper = Signal(), Signal(), Signal()
        m.d.comb += upper.eq(word.tag.address[bits])
        with m.If(self.enable):
            m.d.sync += read_upper.eq(self.address[bits])
        m.d.sync += own_upper.eq(self.i.p.tag.address[bits])
        added = Signal(data.ArrayLayout(signed(WIDTH), self.hw.word))
        for number, (write, own, read) in enumerate(halves):
            adds = Signal(name=f"adds_{number}")
            m.d.comb += [
                adds.eq(valid & (upper == number)), own.addr.eq(self.i.p.tag.address),
                read.addr.eq(self.address), read.en.eq(self.enable),
                write.en.eq(adds | (self.load.en & (self.load.address[bits] == number))),
                write.addr.eq(Mux(adds, word.tag.address, self.load.address)),
            ]
            m.d.comb += [write.data[n].eq(Mux(adds, added[n], self.load.data[n]))
                         for n in range(self.hw.word)]
        for n in range(self.hw.word):
            kept = Mux(own_upper, halves[1][1].data[n], halves[0][1].data[n])
            with m.Switch(word.tag.dest):
                with m.Case(Dest.COMBINE):
                    m.d.comb += added[n].eq(kept + word.data[n])
                with m.Case(Dest.OUTPUT):
                    m.d.comb += added[n].eq(word.data[n])
                with m.Default():
                    m.d.comb += added[n].eq(saturate16(saturate16(kept) + word.data[n]))
            m.d.comb += self.data[n].eq(saturate16(
                Mux(read_upper, halves[1][2].data[n], halves[0][2].data[n])))

        return m

    def half(self, m: Module, number: int):
        """Add half the memory; return its ports: write, read for adding, read for others."""
        m.submodules[f"half_{number}"] = words = Memory(
            shape=data.ArrayLayout(signed(WIDTH), self.hw.word),
            depth=self.hw.residual_words // 2, init=[], attrs={"ram_style": "block"})
        return words.write_port(), words.read_port(), words.read_port()
