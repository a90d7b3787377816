"""The residual stream of every token, and the addition into it.

::

    word ──► address ──► memory ──►│──► saturate ──►│──┬──► read
         │                         │                │  └──► + ──► saturate ──► memory
         └──────────►│────────────►│───────────────►│───────┘
"""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from deltamoe.golden.numerics import RESIDUAL, UPDATE
from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest
from deltamoe.rtl.formats import requantized
from deltamoe.rtl.interfaces import Write, YieldingRead, residual_of
from deltamoe.rtl.memory.halves import Halves
from deltamoe.rtl.record import Area, Record

WIDTH = UPDATE.bits
"""Bits kept of an element. Contributions of experts are added without saturation, and whoever
reads saturates, so ``x = saturate(x + sum of contributions)`` saturates once."""


def exceeds(value):
    """Whether a value is beyond what the stream holds: not all bits above that are its sign."""
    above = value[RESIDUAL.bits - 1 : -1]
    return above != value[-1].replicate(len(above))


def clamped(value, over):
    """Return the value, or if it is ``over`` what the stream holds, the limit on its side."""
    sign = value[-1]
    return Mux(over, Cat((~sign).replicate(RESIDUAL.bits - 1), sign).as_signed(), value)


class Residual(cycles.Residual, wiring.Component):
    """Add words to the residual stream.

    ``RESIDUAL``: ``x = saturate(saturate(x) + y)``; ``COMBINE``: ``x = x + y``;
    ``OUTPUT``: ``x = y``, which is a score.
    :func:`deltamoe.golden.arithmetic.residual.residual_add` is its reference.

    Members
    -------
    i : ``In(stream.Signature(requantized(hw), always_ready=True))``
        Words to add; the tag's address is the word's.
    load : ``In(Write(hw.residual_words, residual_of(hw)))``
        A word that replaces what is there, in the other half of the memory than words added in
        the same cycle.
    read : ``In(YieldingRead(hw.residual_words, residual_of(hw)))``
        Read port for normalization and output, saturated, unless a word is being added.

    Timing
    ------
    A word of cycle ``t`` can be read from cycle ``t + LATENCY`` on. The same address must not
    follow within that time, which no operator does: each of its rows is written once. Data come
    ``READ`` cycles after their address, from the second register behind the memory: with one, 8.5
    LUT levels lay between memory and register on ``zcu102``.
    """

    record = Record(twin="arithmetic.residual", area=Area(
        block=lambda hw: Halves.rams(24 * hw.word, hw.residual_words),
        grows=lambda hw: (hw.word,)), combinational={
        "read.granted": ("i.valid",),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(requantized(hw), always_ready=True)),
            "load": In(Write(hw.residual_words, residual_of(hw))),
            "read": In(YieldingRead(hw.residual_words, residual_of(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        stored = data.ArrayLayout(signed(WIDTH), self.hw.word)
        m.submodules.words = words = Halves(stored, self.hw.residual_words)
        tags = [Signal(requantized(self.hw), name=f"tag_{n}") for n in range(self.READ)]
        valid, wraps = Signal(self.READ), Signal(2)
        raw, before, added = Signal(stored), Signal(stored), Signal(stored)
        saturates, word = Signal(), tags[-1]

        combines, replaces = (valid[0] & (tags[0].tag.dest == dest)
                              for dest in (Dest.COMBINE, Dest.OUTPUT))
        m.d.sync += [
            tags[0].eq(self.i.payload), *(later.eq(tag) for tag, later in pairwise(tags)),
            valid.eq((valid << 1) | self.i.valid), wraps.eq((wraps << 1) | combines),
            raw.eq(words.read.data), saturates.eq(~combines),
        ]
        m.d.comb += [
            self.read.granted.eq(~self.i.valid),
            words.read.address.eq(Mux(self.i.valid, self.i.p.tag.address, self.read.address)),
            words.write.en.eq(valid[-1]), words.write.address.eq(word.tag.address),
            words.write.data.eq(added), words.load.en.eq(self.load.en),
            words.load.address.eq(self.load.address),
        ]
        for n in range(self.hw.word):
            total = Signal(signed(WIDTH + 1), name=f"total_{n}")
            m.d.sync += before[n].eq(clamped(raw[n], exceeds(raw[n]) & saturates))
            m.d.comb += [words.load.data[n].eq(self.load.data[n]),
                         self.read.data[n].eq(before[n]),
                         total.eq(before[n] + word.data[n]),
                         added[n].eq(clamped(total, exceeds(total) & ~wraps[-1]))]
        with m.If(replaces):
            m.d.sync += raw.eq(0)

        return m
