"""The items that find the tokens which changed, and move their references.

::

    SCAN ──► WAIT ──┬─ unchanged ──► next row
                    └─ changed ──► COPY ──► next row
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import item
from deltamoe.rtl.interfaces import Operator
from deltamoe.rtl.record import Record


class ProbeItems(cycles.ProbeItems, wiring.Component):
    """Compare ``rows`` rows with their references; where one differs, make it the reference.

    The token gate of Eventful Transformers (Dutson et al., arXiv 2308.13494) with a threshold on
    the largest difference: a row moves as a whole or not at all.

    Members
    -------
    operator, o
        As in :class:`deltamoe.rtl.linear.item_generator.ItemGenerator`. Items have ``probe``, and
        those that move the reference ``updates``.
    verdict : ``In(stream.Signature(1, always_ready=True))``
        The encoder has seen all of the row; whether an element differs.
    row : ``Out(range(hw.max_tokens))``
        Row that is judged.
    done : ``Out(1)``
        The last row has been judged, and its second item taken if it has one.

    Timing
    ------
    The first item is on ``o`` three cycles after ``start``. A row of ``n`` words is judged ``n``
    cycles after its item was taken; the next item follows in the cycle after that.
    """

    record = Record(moves="orders items", combinational={
        "done": ("o.ready", "verdict.payload", "verdict.valid"),
    })

    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "operator": In(Operator()), "o": Out(stream.Signature(item(hw))),
            "verdict": In(stream.Signature(1, always_ready=True)),
            "row": Out(range(hw.max_tokens)), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        linear, hw = self.operator.descriptor.linear, self.hw
        primed, waited, follows, last = Signal(), Signal(), Signal(), Signal()
        same = Signal(item(hw))
        judged, changed = self.verdict.valid, self.verdict.payload
        tail = linear.depth % hw.word

        m.d.comb += [self.o.p.eq(same), self.o.p.probe.eq(1), self.done.eq(last & follows)]
        m.d.sync += [
            primed.eq(self.operator.start), waited.eq(primed),
            last.eq(self.row + 1 == linear.rows),
            same.source.eq(linear.source), same.words.eq((linear.depth + hw.word - 1) // hw.word),
            same.tail.eq(Mux(tail == 0, hw.word, tail)), same.norm.eq(linear.norm),
            same.operand_signed.eq(linear.operand_signed), same.theta.eq(linear.theta),
            same.dense.eq(linear.fresh),
        ]
        with m.If(self.operator.start):
            m.d.sync += [self.row.eq(0), same.need.eq(1), same.address.eq(linear.source_base),
                         same.reference_address.eq(linear.reference_base)]
        with m.FSM():
            with m.State("IDLE"), m.If(waited):
                m.next = "SCAN"
            with m.State("SCAN"):
                m.d.comb += [self.o.valid.eq(1), self.o.p.tracks.eq(1)]
                with m.If(self.o.ready):
                    m.next = "WAIT"
            with m.State("WAIT"), m.If(judged):
                m.d.comb += follows.eq(~changed)
                with m.If(changed):
                    m.next = "COPY"
                with m.Elif(last):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "SCAN"
            with m.State("COPY"):
                m.d.comb += [self.o.valid.eq(1), self.o.p.updates.eq(1), self.o.p.dense.eq(1),
                             follows.eq(self.o.ready)]
                with m.If(self.o.ready & last):
                    m.next = "IDLE"
                with m.Elif(self.o.ready):
                    m.next = "SCAN"
        with m.If(follows):
            m.d.sync += [
                self.row.eq(self.row + 1), same.need.eq(same.need + 1),
                same.address.eq(same.address + linear.source_stride),
                same.reference_address.eq(same.reference_address + linear.source_stride)]

        return m
