"""Finished sums to the units behind the compute unit, in the order the items were issued."""

from itertools import pairwise

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import ACTIVATION, EXPERT, HIDDEN, SCORE, UPDATE, WEIGHT
from deltamoe.rtl import cycles
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest
from deltamoe.rtl.formats import NORMALIZER, RESULTS, drained, scaled, tag
from deltamoe.rtl.interfaces import Counts, Lookup, Write, attach, parameters_of
from deltamoe.rtl.linear.compute_unit import ComputeUnit, Sums, members
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe
from deltamoe.rtl.temporal.kept_sums import KeptWord

MADE = {
    Dest.KEY: WEIGHT, Dest.VALUE: WEIGHT, Dest.HIDDEN: HIDDEN, Dest.SCORES: SCORE,
    Dest.OUTPUT: SCORE, Dest.COMBINE: EXPERT, Dest.RESIDUAL: UPDATE,
}
"""What a sum becomes by its destination; an activation for all others."""


class Drain(cycles.Drain, wiring.Component):
    """Read the oldest item's words and pair each with its bias, multiplier and shift.

    Members
    -------
    i : ``In(stream.Signature(drained(hw)))``
        Records in issue order.
    op, active : ``In(3)``, ``In(1)``
        Operator whose records may be drained in the next cycle, if any.
    row_freed, token_freed : ``In(1)``
        The softmax and the gate have room for another row of scores, another token.
    sums : ``Out(Sums(hw))``
        Oldest item; the word of its sums ``latency(hw)`` cycles later.
    kept : ``Out(KeptWord(hw))``
        Where the word's sums are kept, if any are.
    parameters : ``In(Write(hw.param_words, parameters_of(hw)))``
        Write port of the columns' parameters.
    normalizers : ``Out(Lookup(hw.attention_lag + 1, NORMALIZER))``
        Row slots of the attention and their reciprocal sums.
    o : ``Out(stream.Signature(scaled(hw)))``
        Words; must always be taken.
    counts : ``Out(Counts(…))``
        A word is read; the oldest item is not summed; the softmax or gate has no room.

    Timing
    ------
    A record may be drained ``VISIBLE`` cycles after it came in, and ``START`` after its operator is
    ``active``. One word a cycle; ``o`` follows ``sums`` by ``latency(hw)`` cycles. No more rows of
    scores or tokens are under way than the softmax and the gate can hold, so neither ever refuses a
    word. The record behind the oldest one is in registers too, so that its groups may be asked for
    their sums ahead of its turn. Registers tell whether the oldest is of the operator that is
    active, and whether it opens a row or a token, as all else waits for that.
    """

    record = Record(moves="pairs sums with their parameters", area=Area(
        block=lambda hw: (Ram(parameters_of(hw), hw.param_words),),
        distributed=lambda hw: (Ram(drained(hw), 6 * hw.groups),),
        grows=lambda hw: (hw.word, 6 * hw.groups / 64, hw.state_bits)), combinational={
        "o.payload": ("normalizers.data", "sums.acc"),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(drained(hw))),
            "op": In(3), "active": In(1),
            "row_freed": In(1), "token_freed": In(1), "sums": Out(Sums(hw)),
            "parameters": In(Write(hw.param_words, parameters_of(hw))),
            "normalizers": Out(Lookup(hw.attention_lag + 1, NORMALIZER)),
            "o": Out(stream.Signature(scaled(hw))),
            "counts": Out(Counts({"drain_busy": 1, "drain_starved": 1, "drain_credit": 1})),
            "kept": Out(KeptWord(hw)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = Fifo(drained(self.hw), 6 * self.hw.groups)
        pipe(m, wiring.flipped(self.i), order.i)
        head, sums, counts = Signal(drained(self.hw)), self.sums, self.counts
        position = Signal.like(sums.word)
        rows, tokens = Signal(Softmax.ROWS), Signal(Gate.TOKENS)
        last, ready, room, due, busy = (Signal() for _ in range(5))
        opens, opens_row, opens_token = Signal(init=1), Signal(), Signal()
        present, complete = Signal(), Signal()
        behind, waits, advances = Signal.like(head), Signal(), Signal()

        m.d.comb += [advances.eq(~present | sums.release), order.o.ready.eq(~waits | advances)]
        m.d.sync += [
            due.eq(self.active & Mux(advances, waits & (behind.op == self.op),
                                     present & (head.op == self.op))),
            complete.eq(Mux(advances, sums.summed[1], sums.summed[0])),
        ]
        with m.If(advances):
            m.d.sync += [present.eq(waits), head.eq(behind),
                         opens_row.eq((behind.dest == Dest.SCORES) & behind.first),
                         opens_token.eq((behind.dest == Dest.GATE) & behind.first),
                         sums.groups.eq(Mux(waits, sums.next_groups, 0))]
        with m.If(order.o.ready):
            m.d.sync += [waits.eq(order.o.valid), behind.eq(order.o.payload),
                         sums.next_groups.eq(members(m, self.hw, order.o.p, "next"))]

        m.d.comb += [
            room.eq((~opens_row | ~rows[-1]) & (~opens_token | ~tokens[-1])),
            ready.eq(~opens | (complete & room)), busy.eq(due & ready),
            counts.drain_busy.eq(busy),
            counts.drain_starved.eq(due & opens & ~complete),
            counts.drain_credit.eq(due & ~busy & ~counts.drain_starved), sums.word.eq(position),
            sums.release.eq(busy & last), sums.gang.eq(head.gang),
        ]
        opened = busy & opens
        self.count(m, rows, opened & opens_row, self.row_freed)
        self.count(m, tokens, opened & opens_token, self.token_freed)
        with m.If(busy):
            m.d.sync += [position.eq(Mux(last, 0, position + 1)), opens.eq(last),
                         last.eq(position + 2 == head.words)]
        with m.If(advances):
            m.d.sync += last.eq(behind.words == 1)
        self.annotate(m, head, position, last)

        return m

    @staticmethod
    def count(m: Module, under_way, begins, freed):
        """Count up or down by as many of the lowest bits as are set, which needs no carry."""
        with m.If(begins & ~freed):
            m.d.sync += under_way.eq((under_way << 1) | 1)
        with m.If(freed & ~begins):
            m.d.sync += under_way.eq(under_way >> 1)

    def annotate(self, m: Module, head, position, last):
        """Delay the word's tag and attach its parameters."""
        hw, busy = self.hw, self.counts.drain_busy
        stages = range(self.latency(hw))
        tags = [Signal(tag(hw), name=f"tag_{n}") for n in stages]
        normalize = [Signal(name=f"normalize_{n}") for n in stages]
        slots = [Signal(range(hw.attention_lag + 1), name=f"slot_{n}") for n in stages]
        shifts = [Signal(2, name=f"shift_{n}") for n in stages]
        params = [Signal(range(hw.param_words), name=f"param_{n}") for n in stages[1:]]
        valid = Signal(len(stages))
        for line in (tags, normalize, slots, shifts, params):
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(line)]
        m.d.sync += [
            valid.eq((valid << 1) | busy), normalize[0].eq(head.normalize),
            slots[0].eq(head.slot), shifts[0].eq(head.shift),
            tags[0].dest.eq(head.dest), tags[0].address.eq(head.address + position),
            tags[0].weight.eq(head.weight), tags[0].count.eq(Mux(last, head.count, hw.word)),
            tags[0].first.eq(head.first & (position == 0)), tags[0].last.eq(head.last & last),
            tags[0].bank.eq(head.bank),
            tags[0].flush.eq(head.flush), tags[0].final.eq(head.final & last),
            params[0].eq(head.param + Mux(head.advance, position, 0)),
        ]
        m.submodules.parameters = parameters = BlockMemory(parameters_of(hw), hw.param_words)
        attach(m, self.parameters, parameters.write_port())
        made, read = self.o.p, parameters.read_port()
        m.d.comb += read.addr.eq(params[-1])
        m.d.comb += [
            self.o.valid.eq(valid[-1]), made.acc.eq(self.sums.acc),
            made.tag.eq(tags[-1]), self.normalizers.address.eq(slots[-1]),
            made.shift.eq(Mux(normalize[-1], self.normalizers.data.shift, shifts[-1])),
            made.width.eq(RESULTS.index(ACTIVATION)),
        ]
        with m.Switch(tags[-1].dest):
            for dest, result in MADE.items():
                with m.Case(dest):
                    m.d.comb += made.width.eq(RESULTS.index(result))
        self.keep(m, head, position, valid)
        for n in range(hw.word):
            m.d.comb += [
                made.bias[n].eq(read.data[n].bias),
                made.multiplier[n].eq(Mux(normalize[-1], self.normalizers.data.multiplier,
                                          read.data[n].multiplier)),
            ]

    def keep(self, m: Module, head, position, valid):
        """Where the word's sums are kept, as late as these are read."""
        late = ComputeUnit.READ_LATENCY
        places = [Signal(self.kept.where.shape(), name=f"where_{n}") for n in range(late)]
        busy = self.counts.drain_busy
        m.d.sync += [
            places[0].state.eq(head.state + position),
            places[0].accumulates.eq(head.accumulates & busy),
            places[0].stores.eq(head.stores & busy),
            *(later.eq(earlier) for earlier, later in pairwise(places)),
        ]
        m.d.comb += [self.kept.where.eq(places[-1]), self.kept.passes.eq(valid[late : late + 1])]
