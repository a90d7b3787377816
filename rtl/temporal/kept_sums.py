"""Sums kept from one frame to the next.

Three registers, and a memory that is read in the first and written behind the last::

    acc ──►│─────────────►│──► + ──►│──► sum
    address ──► memory ──►│────┤    └──► memory ──► STORE
                     LOAD ►│───┘
"""

from itertools import pairwise

from amaranth import C, Cat, Module, Mux, Signal, signed
from amaranth.hdl import Assert
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import kept
from deltamoe.rtl.interfaces import YieldingRead, YieldingWrite, sums_of
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record


class KeptWord(wiring.Signature):
    """Where a drained word's sums are kept.

    Members
    -------
    where : ``Out(kept(hw))``
        Word of the memory, and what to do with it, ``ComputeUnit.READ_LATENCY`` cycles after the
        word was selected.
    passes : ``Out(1)``
        A word was on ``where`` in the cycle before, whether or not it is kept.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({"where": Out(data.StructLayout(kept(hw))), "passes": Out(1)})


class KeptSums(cycles.KeptSums, wiring.Component):
    """Add what was kept to the sums of a word, and keep the result.

    ``sum = acc + memory[state]`` if ``accumulates``, else ``acc``; then ``memory[state] = sum`` if
    ``stores``. With the events of a delta layer as ``acc`` the sum is that of the whole reference
    (Neil et al., Delta Networks, arXiv 1612.05571).
    :func:`deltamoe.golden.arithmetic.linear.linear` of the reference is its model. What is not
    added is reset in the register before the adder, which saves a LUT for each of its bits; so a
    word from memory goes through the adder too, as the sum of nothing. Its OR shares the LUT of the
    adder's bit if the sum is written as a difference, ``2 a - (2 (-1 - b) + 1) = 2 (a + b) + 1``:
    of a sum, Yosys chooses which side stays bare.

    Members
    -------
    acc : ``In(data.ArrayLayout(signed(hw.acc_width), hw.word))``
        Sums of this frame's events.
    kept : ``In(KeptWord(hw))``
        Word of the memory, and what to do with it, of the same cycle.
    sum : ``Out``
        The result, ``LATENCY`` cycles later.
    load : ``In(YieldingWrite(hw.state_words, int32 of a word))``
        A word from memory; never in the cycle after a word that was drained.
    store : ``In(YieldingRead(hw.state_words, sums_of(hw)))``
        Read port for ``STORE``, unless a word is being added to.

    Timing
    ------
    One word a cycle. A word must not follow itself within ``LATENCY`` cycles, which no operator
    does: each of its words is drained once. A word loaded in cycle ``t`` can be read from cycle
    ``t + LATENCY`` on.
    """

    record = Record(twin="arithmetic.linear", area=Area(
        instances=lambda hw: int(hw.temporal),
        block=lambda hw: (Ram(hw.acc_width * hw.word, hw.state_words),),
        grows=lambda hw: (hw.word,)), combinational={
        "load.free": ("kept.passes",),
        "store.granted": ("kept.where",),
    })

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "acc": In(sums_of(hw)), "kept": In(KeptWord(hw)), "sum": Out(sums_of(hw)),
            "load": In(YieldingWrite(hw.state_words, data.ArrayLayout(signed(32), hw.word))),
            "store": In(YieldingRead(hw.state_words, sums_of(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        hw, word, where = self.hw, sums_of(self.hw), self.kept.where
        m.submodules.words = words = BlockMemory(word, hw.state_words)
        write, read = words.write_port(), words.read_port()
        accs = [Signal(word, name=f"acc_{n}", reset_less=True) for n in range(2)]
        old, overflow = Signal(word, reset_less=True), Signal(hw.word)
        loaded = Signal(word, reset_less=True)
        stages = [Signal(where.shape(), name=f"where_{n}") for n in range(self.LATENCY)]

        m.d.sync += [accs[0].eq(self.acc), accs[1].eq(accs[0]), old.eq(read.data),
                     stages[0].eq(where), loaded.eq(0)]
        with m.If(~stages[0].accumulates):
            m.d.sync += old.eq(0)
        m.d.sync += [later.eq(earlier) for earlier, later in pairwise(stages)]
        with m.If(self.load.en):
            m.d.sync += [accs[1].eq(0), stages[1].state.eq(self.load.address),
                         stages[1].stores.eq(1), stages[1].accumulates.eq(0)]
            m.d.sync += [loaded[n].eq(self.load.data[n]) for n in range(hw.word)]
        m.d.comb += [
            self.store.granted.eq(~where.accumulates), self.store.data.eq(read.data),
            read.addr.eq(Mux(self.store.granted, self.store.address, where.state)),
            self.load.free.eq(~self.kept.passes),
            write.addr.eq(stages[-1].state),
            write.en.eq(stages[-1].stores), write.data.eq(self.sum),
        ]
        for n in range(hw.word):
            total = Signal(signed(hw.acc_width + 1), name=f"total_{n}")
            either = Cat(C(1, 1), ~(old[n] | loaded[n])).as_signed()
            m.d.comb += [total.eq((Cat(C(0, 1), accs[1][n]).as_signed() - either) >> 1),
                         overflow[n].eq(total[-1] ^ total[-2])]
            m.d.sync += self.sum[n].eq(total)
        m.d.sync += Assert(~stages[1].accumulates | ~overflow.any(), "kept sum overflow")

        return m
