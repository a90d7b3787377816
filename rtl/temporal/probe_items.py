"""The items that find the tokens which changed, and move their references.

::

    SCAN ──► WAIT ──┬─ unchanged ──► next row
                    └─ changed ──► COPY ──► next row
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import item
from deltamoe.rtl.interfaces import Operator
from deltamoe.rtl.record import Record


class State(enum.Enum, shape=2):
    """What is done with a row."""

    IDLE = 0
    SCAN = 1
    WAIT = 2
    COPY = 3


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
        given, made, hw = self.operator.descriptor.linear, self.o.p, self.hw
        state, primed, waited = Signal(State), Signal(), Signal()
        same, last = Signal(item(hw)), Signal()
        taken = self.o.valid & self.o.ready
        judged, changed = self.verdict.valid, self.verdict.payload
        tail = given.depth % hw.word

        m.d.comb += [
            self.done.eq(last & ((judged & ~changed)
                                 | (taken & (state == State.COPY)))),
            self.o.valid.eq((state == State.SCAN) | (state == State.COPY)),
            made.eq(same), made.probe.eq(1),
            made.updates.eq(state == State.COPY), made.tracks.eq(state == State.SCAN),
            made.dense.eq((state == State.COPY) | same.dense),
        ]
        m.d.sync += [
            primed.eq(self.operator.start), waited.eq(primed), last.eq(self.row + 1 == given.rows),
            same.source.eq(given.source), same.words.eq((given.depth + hw.word - 1) // hw.word),
            same.tail.eq(Mux(tail == 0, hw.word, tail)), same.norm.eq(given.norm),
            same.operand_signed.eq(given.operand_signed), same.theta.eq(given.theta),
            same.dense.eq(given.fresh),
        ]
        with m.If(self.operator.start):
            m.d.sync += [self.row.eq(0), same.need.eq(1), same.address.eq(given.source_base),
                         same.reference_address.eq(given.reference_base)]
        with m.If(waited):
            m.d.sync += state.eq(State.SCAN)
        with m.If(taken & (state == State.SCAN)):
            m.d.sync += state.eq(State.WAIT)
        with m.If(judged & changed):
            m.d.sync += state.eq(State.COPY)
        with m.If((judged & ~changed) | (taken & (state == State.COPY))):
            m.d.sync += [
                state.eq(State.SCAN), self.row.eq(self.row + 1), same.need.eq(same.need + 1),
                same.address.eq(same.address + given.source_stride),
                same.reference_address.eq(same.reference_address + given.source_stride)]
        with m.If(self.done):
            m.d.sync += state.eq(State.IDLE)

        return m
