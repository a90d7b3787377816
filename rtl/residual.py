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
        ``en``, ``address``, ``data``: a word of int16 that replaces what is there.
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
        m.submodules.words = words = Memory(
            shape=data.ArrayLayout(signed(WIDTH), self.hw.word), depth=self.hw.residual_words,
            init=[], attrs={"ram_style": "block"}
        )
        write, own, read = words.write_port(), words.read_port(), words.read_port()
        word, valid = Signal(requantized(self.hw)), Signal()

        m.d.sync += [word.eq(self.i.payload), valid.eq(self.i.valid)]
        m.d.comb += [
            self.i.ready.eq(1), own.addr.eq(self.i.p.tag.address),
            read.addr.eq(self.address), read.en.eq(self.enable),
            write.en.eq(valid | self.load.en),
            write.addr.eq(Mux(valid, word.tag.address, self.load.address)),
        ]
        for n in range(self.hw.word):
            added = Signal(signed(WIDTH + 1), name=f"added_{n}")
            with m.Switch(word.tag.dest):
                with m.Case(Dest.COMBINE):
                    m.d.comb += added.eq(own.data[n] + word.data[n])
                with m.Case(Dest.OUTPUT):
                    m.d.comb += added.eq(word.data[n])
                with m.Default():
                    m.d.comb += added.eq(saturate16(saturate16(own.data[n]) + word.data[n]))
            m.d.comb += [
                write.data[n].eq(Mux(valid, added, self.load.data[n])),
                self.data[n].eq(saturate16(read.data[n])),
            ]

        return m
