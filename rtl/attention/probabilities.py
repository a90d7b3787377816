"""Softmax and the memory of its last rows, from which the values are weighed."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import (
    Divider,
    Drain,
    EventEncoder,
    EventQueue,
    OperandSource,
    Worker,
)
from deltamoe.rtl.formats import NORMALIZER, scores
from deltamoe.rtl.interfaces import Counts, Lookup, Operator, Read, attach, bytes_of
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe


class Probabilities(wiring.Component):
    """Keep ``attention_lag + 1`` rows of exponentials and their normalizers.

    Members
    -------
    operator : ``In(Operator())``
        ``kappa22`` and ``kappa26`` of the operator, taken in its first cycle.
    i : ``In(stream.Signature(scores(hw.word)))``
        Logits.
    read : ``In(Read(hw.probability_words, bytes_of(hw)))``
        Row ``r`` starts at word ``r % (attention_lag + 1) * row_words``.
    normalizers : ``In(Lookup(hw.attention_lag + 1, NORMALIZER))``
        A row's normalizer.
    rows : ``Out(range(hw.score_rows + 1))``
        Rows since it began that are complete, and whose normalizers are being divided.
    freed : ``Out(1)``
        A row's last exponential is being written.
    counts : ``Out(Counts(…))``
        A word is being written.

    Timing
    ------
    A row counts in the cycle after its division began, ``Softmax.summed(hw)`` cycles after its
    last word. Its normalizer is there ``Divider.LATENCY`` cycles later, which is before any item
    that waited for the row can be drained, but the next operator may have begun: it does not write
    a row of its own before.
    """

    record = Record(twin="arithmetic.softmax", area=Area(
        block=lambda hw: (Ram(8 * hw.word, hw.probability_words),),
        grows=lambda hw: (hw.word, hw.attention_lag + 1)), combinational={
        "normalizers.data": ("normalizers.address",),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "operator": In(Operator()),
            "i": In(stream.Signature(scores(hw.word))),
            "read": In(Read(hw.probability_words, bytes_of(hw))),
            "normalizers": In(Lookup(hw.attention_lag + 1, NORMALIZER)),
            "rows": Out(range(hw.score_rows + 1)), "freed": Out(1),
            "counts": Out(Counts({"softmax_words": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        slots = hw.attention_lag + 1
        m.submodules.softmax = softmax = Softmax(hw)
        m.submodules.rows = rows = BlockMemory(bytes_of(hw), hw.probability_words)
        write = rows.write_port()
        attach(m, self.read, rows.read_port())
        normalizers = Array(Signal(NORMALIZER, name=f"normalizer_{n}") for n in range(slots))
        slot, base = Signal(range(slots)), Signal(range(hw.probability_words))
        position, begins = Signal(range(hw.row_words)), Signal()
        ended = Signal(Softmax.summed(hw))
        assert (
            OperandSource.CHOSEN + OperandSource.LATENCY + EventEncoder.timing.latency
            + EventQueue.timing.latency + Worker.LATENCY + Drain.latency(hw)) >= Divider.LATENCY

        pipe(m, wiring.flipped(self.i), softmax.i)
        with m.If(self.operator.start):
            attention = self.operator.descriptor.attention
            m.d.sync += [softmax.kappa22.eq(attention.kappa22),
                         softmax.kappa26.eq(attention.kappa26)]
        m.d.comb += [
            softmax.o.ready.eq(1), softmax.normalizer.ready.eq(1),
            self.counts.softmax_words.eq(softmax.o.valid),
            self.freed.eq(softmax.o.valid & softmax.o.p.last),
            write.en.eq(softmax.o.valid), write.addr.eq(base + position),
            write.data.eq(softmax.o.p.data),
            self.normalizers.data.eq(normalizers[self.normalizers.address]),
        ]
        m.d.sync += [ended.eq(Cat(self.freed, ended)), self.rows.eq(self.rows + ended[-1])]
        with m.If(softmax.o.valid):
            m.d.sync += position.eq(position + 1)
            with m.If(softmax.o.p.last):
                last = base == (slots - 1) * hw.row_words
                m.d.sync += [position.eq(0), base.eq(Mux(last, 0, base + hw.row_words))]
        with m.If(softmax.normalizer.valid):
            m.d.sync += [normalizers[slot].eq(softmax.normalizer.payload), slot.eq(slot + 1)]
        with m.If(self.freed):
            m.d.sync += begins.eq(0)
            with m.If(begins):
                m.d.sync += slot.eq(0)
        with m.If(self.operator.start):
            m.d.sync += [self.rows.eq(0), base.eq(0), begins.eq(1)]

        return m
