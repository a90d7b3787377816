"""The items of a linear layer: for every row, its passes of columns.

::

    row, pass ────────────────┬──► × strides, last? ──►│──► + bases ──►│──► o
    next entry ──► entry ──►│─┘
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.attention.head_parts import part_of
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest
from deltamoe.rtl.formats import item, queued
from deltamoe.rtl.interfaces import Operator, Read
from deltamoe.rtl.record import Record


class LinearItems(wiring.Component):
    """Walk ``rows`` and the passes of each.

    Row ``r`` is read at ``source_base + s * source_stride`` and written at
    ``dest_base + d * dest_stride``, where ``s`` and ``d`` are ``r``, or with ``gather`` and
    ``scatter`` the token at position ``r`` of the expert's queue. Of values, the address is the
    row that the token has in its part of the sums, and the ``weight`` that part.

    Members
    -------
    operator, rows, upcoming, queue, o
        As in :class:`deltamoe.rtl.linear.item_generator.ItemGenerator`.

    Timing
    ------
    The first item is on ``o`` three cycles after ``start``, then one every two cycles: what follows
    from a row and a pass is in registers in the cycle after the step to them. The memory of the
    queues is asked for the next row's entry while a row is walked, and for the first one of
    ``upcoming`` while none is, so ``upcoming`` must be the operator's in the cycle before
    ``start``.
    """

    record = Record(moves="orders items", combinational={
        "queue.address": ("operator.descriptor", "upcoming"),
    })

    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "operator": In(Operator()), "rows": In(range(hw.max_tokens + 1)),
            "upcoming": In(8),
            "queue": Out(Read(hw.queues * hw.queue_depth, queued(hw))),
            "o": Out(stream.Signature(item(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        hw, linear = self.hw, self.operator.descriptor.linear
        primed, running, settled = Signal(), Signal(), Signal()
        row, column = Signal(range(hw.max_tokens)), Signal(range(hw.param_words))
        entry, walks, bits = Signal(queued(hw)), Signal(), (hw.queue_depth - 1).bit_length()
        base = Signal(range(hw.weight_rows))
        param, remaining = Signal(range(hw.param_words)), Signal(range(hw.param_words + 1))
        words = Signal(range(hw.item_words + 1))
        last_pass, last_row, step = Signal(), Signal(), Signal()
        source, dest = Signal.like(self.o.p.address), Signal.like(self.o.p.drained.address)
        width, rows, leads, few = self.placement(m)
        dest_start, is_value, part = self.place(m, row, column)

        m.d.comb += [
            remaining.eq(linear.columns // hw.word - column),
            step.eq(running & settled & (self.o.ready | ~self.o.valid)),
            walks.eq(primed | running),
            self.queue.address.eq(Mux(walks, Cat((row + 1)[:bits], linear.queue),
                                      Cat(Const(0, bits), self.upcoming))),
        ]
        with m.If(~walks | (step & last_pass)):
            m.d.sync += entry.eq(self.queue.data)
        m.d.sync += [
            primed.eq(self.operator.start), settled.eq(~step),
            last_pass.eq(remaining <= width), words.eq(Mux(remaining <= width, remaining, width)),
            last_row.eq(row + 1 == self.rows),
            source.eq(Mux(linear.gather, entry.token, row) * linear.source_stride),
            dest.eq(Mux(linear.scatter, entry.token, row) * linear.dest_stride),
        ]
        with m.If(self.operator.start):
            m.d.sync += [row.eq(0), column.eq(0), base.eq(linear.weight_base),
                         param.eq(linear.param_base)]
        with m.If(primed):
            m.d.sync += running.eq(1)
        with m.Elif(step):
            m.d.sync += [
                running.eq(~(last_pass & last_row)),
                row.eq(row + last_pass),
                column.eq(Mux(last_pass, 0, column + width)),
                base.eq(Mux(last_pass, linear.weight_base, base + rows)),
                param.eq(Mux(last_pass, linear.param_base, param + width)),
            ]
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(running & settled),
                self.o.p.address.eq(linear.source_base + source),
                self.o.p.drained.address.eq(dest_start + Mux(is_value, 0, dest)),
            ]
            m.d.sync += self.fields(row, column, base, param, words, last_pass, last_row)
            m.d.sync += [self.o.p.leads.eq(leads), self.o.p.few.eq(few),
                         self.o.p.drained.weight.eq(
                             Mux(is_value, part, entry.weight))]
        self.keep(m, entry, step, words, row, column)

        return m

    def placement(self, m: Module):
        """Return what follows from the operator's placement.

        Words of columns of a pass, rows of weights of one, the groups that may lead, and whether
        those are at most two.
        """
        hw, linear = self.hw, self.operator.descriptor.linear
        width, rows = Signal(range(hw.item_words + 1)), Signal(range(hw.weight_rows + 1))
        leads, few = Signal.like(self.o.p.leads), Signal()
        with m.Switch(linear.gang):
            for index, gang in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += width.eq(2 * gang)
        with m.Switch(linear.span):
            for index, span in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += [leads.eq(sum(1 << n for n in range(0, hw.groups, span))),
                                 few.eq(2 * span >= hw.groups)]
        with m.Switch(linear.split):
            for split in hw.splits:
                with m.Case(split):
                    m.d.sync += rows.eq(self.made_words() * (hw.word >> split))
        return width, rows, leads, few

    def place(self, m: Module, row: Signal, column: Signal):
        """Return where a pass is written, whether it is of values, and their part of the sums.

        Values are written to the row that the token has in its part.
        """
        given, dest_start = self.operator.descriptor.linear, Signal.like(self.o.p.drained.address)
        value_row, value_part = part_of(row, given.head_split, self.hw)
        is_value, part = given.dest == Dest.VALUE, Signal.like(value_part, name="part")
        m.d.sync += [dest_start.eq(given.dest_base + Mux(is_value, value_row, column)),
                     part.eq(value_part)]
        return dest_start, is_value, part

    def keep(self, m: Module, entry, step, words, row, column):
        """Where sums and references are kept: row by row, or by place, and whether they are."""
        linear, payload = self.operator.descriptor.linear, self.o.p
        state = Signal(range(self.hw.state_words))
        state_start, state_offset = Signal.like(state), Signal.like(state)
        reference = Signal.like(payload.reference_address)
        routed = linear.gather | linear.scatter
        m.d.sync += [
            state_start.eq(linear.state_base + column),
            state_offset.eq(entry.place * linear.dest_stride),
            reference.eq(Mux(routed, entry.place, row) * linear.source_stride),
        ]
        with m.If(self.operator.start):
            m.d.sync += state.eq(linear.state_base)
        with m.Elif(step):
            m.d.sync += state.eq(state + words)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                payload.drained.state.eq(Mux(routed, state_start + state_offset, state)),
                payload.reference_address.eq(linear.reference_base + reference),
                payload.tracks.eq(~linear.fresh & (~routed | entry.known)),
            ]

    def made_words(self):
        """Words of a row of operands."""
        return (self.operator.descriptor.linear.depth + self.hw.word - 1) // self.hw.word

    def fields(self, row, column, base, param, words, last_pass, last_row):
        """Assignments of the item for this row and pass."""
        given, made, hw = self.operator.descriptor.linear, self.o.p, self.hw
        tail = given.depth % hw.word
        return [
            made.source.eq(given.source),
            made.words.eq(Mux(given.wide, self.made_words() // hw.read_words, self.made_words())),
            *([made.wide.eq(given.wide)] if hw.read_words > 1 else []),
            made.tail.eq(Mux(tail == 0, hw.word, tail)),
            made.operand_signed.eq(given.operand_signed),
            made.row.eq(base), made.kv.eq(0), made.norm.eq(given.norm),
            made.need.eq(Mux(given.norm | given.by_row, row + 1, 0)),
            made.columns.eq(words * hw.word),
            made.drained.leader.eq(0), made.drained.span.eq(given.span),
            made.drained.gang.eq(given.gang), made.drained.split.eq(given.split),
            made.drained.words.eq(words), made.drained.count.eq(hw.word),
            made.drained.dest.eq(given.dest),
            made.drained.param.eq(param), made.drained.advance.eq(1),
            made.drained.normalize.eq(0), made.drained.slot.eq(0),
            made.drained.first.eq(column == 0), made.drained.last.eq(last_pass),
            made.drained.flush.eq(last_row), made.drained.final.eq(last_pass & last_row),
        ]
