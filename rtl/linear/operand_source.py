"""Items to words of operands: waits for what an item needs, picks a queue, reads the row.

::

    item ──► dependencies met? free queue? ──►│──► read address ──►│ memory ──► pick ──►│──► o
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Source
from deltamoe.rtl.formats import drained, if_kept, item, operands, place, traced, words_beside
from deltamoe.rtl.interfaces import Counts, bytes_of
from deltamoe.rtl.linear.compute_unit import Assignment
from deltamoe.rtl.record import Area, Record


class CompleteRows(wiring.Signature):
    """Rows that items may be waiting for.

    Members
    -------
    normed, probabilities : ``Out(range(hw.max_tokens + 1))``, ``Out(range(hw.score_rows + 1))``
        Rows that the normalization and the softmax have completed since the operator began.
    ready, released : ``Out(range(hw.max_tokens + 1))``, ``Out(1)``
        Complete rows of the operator that this one waits for; all of them are.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "normed": Out(range(hw.max_tokens + 1)), "probabilities": Out(range(hw.score_rows + 1)),
            "ready": Out(range(hw.max_tokens + 1)), "released": Out(1),
        })


class OperandRead(wiring.Signature):
    """Read port of the memories of operands.

    Members
    -------
    address, data : ``Out(range(hw.operand_words))``, ``In(bytes_of(hw)).array(4)``
        Word, and what it holds in the memory of each :class:`Source`, in the next cycle.
    beside, upper : ``In(words_beside(hw)).array(2)``, ``In(1)``
        Activations that follow this word, if ``address`` is a multiple of ``read_words``: of
        either half of the memory, and which to take. That choice fits into the LUTs of the
        encoder's subtraction, where it costs nothing. If words are read together.
    reference_address, recalls : ``Out(range(hw.reference_words))``, ``Out(1)``
        Word of the references to read, for ``data`` of ``Source.REFERENCE``; whether it is. If
        any are kept.
    """

    def __init__(self, hw: HwConfig) -> None:
        together = {"beside": In(words_beside(hw)).array(2), "upper": In(1)}
        kept = {name: Out(shape) for name, shape in if_kept(hw, {
            "reference_address": range(hw.reference_words), "recalls": 1}).items()}
        super().__init__({
            "address": Out(range(hw.operand_words)), "data": In(bytes_of(hw)).array(len(Source)),
            **(together if hw.read_words > 1 else {}), **kept,
        })


class OperandSource(cycles.OperandSource, wiring.Component):
    """Hand every item to the freest groups and stream its row.

    An item goes to the lowest-numbered span whose groups have no item waiting, else to the lowest
    whose groups have one, or two if the set has no more than two spans; but a queue must hold
    all of them if they are as long as the longest that came since no item waited anywhere. Only
    spans within the item's set of groups take part.
    Three that wait even out parts of a sum that have unequally many events: 192 x 192 weights at
    density 25 % reach 94 % of the ideal speed, and 87 % with two. With many spans, as attention
    has, they would gather at the lowest: deit-tiny-197 would take 1.5 % longer on ``zcu102``.

    Members
    -------
    i : ``In(stream.Signature(item(hw)))``
        Items in issue order; ``drained.leader`` is chosen here.
    queues : ``Out(Assignment(hw))``
        Items on their way to the groups.
    rows : ``In(CompleteRows(hw))``
        Rows that items may be waiting for.
    read : ``Out(OperandRead(hw))``
        Memories of operands.
    o : ``Out(stream.Signature(operands(hw)))``
        Operands; must always be taken.
    drained : ``Out(stream.Signature(drained(hw)))``
        The item's record for the drain; an item waits until there is room for it.
    counts : ``Out(Counts(…))``
        A word is read; an item waited for its dependency, for a queue, in the cycle before.

    Timing
    ------
    An item of ``n`` reads that is chosen for in cycle ``t`` is taken in ``t + CHOSEN`` and reads
    from then on; its first word is on ``o`` ``LATENCY`` cycles after it was read. The next item is
    chosen for in ``t + n`` at the earliest, which is during the last read, or ``t + SHORTEST``.
    Rows are seen ``SEEN`` cycles after they are complete.
    ``i.ready``, ``queues.accept`` and ``drained`` come from the choice's register.
    """

    record = Record(moves="orders operands", area=Area(
        grows=lambda hw: (
            hw.word, hw.groups, hw.kept_word, hw.word * (hw.read_words - 1))),
                    combinational={
        "drained.payload": ("i.payload",),
        "queues.span": ("i.payload",),
        "read.address": ("i.payload",),
        "read.recalls": ("i.payload",),
        "read.reference_address": ("i.payload",),
    })

    i: stream.Interface
    o: stream.Interface
    drained: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(item(hw))), "queues": Out(Assignment(hw)),
            "rows": In(CompleteRows(hw)), "read": Out(OperandRead(hw)),
            "o": Out(stream.Signature(operands(hw))),
            "drained": Out(stream.Signature(drained(hw))),
            "counts": Out(Counts({"source_busy": 1, "source_needs": 1, "source_full": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        hw, given, rows, counts = self.hw, self.i.p, self.rows, self.counts
        left, address = Signal.like(given.words), Signal.like(self.read.address)
        current, sent = Signal(item(hw)), Signal(item(hw))
        fresh, assigns, met, goes, final = Signal(), Signal(), Signal(), Signal(), Signal()
        probe = Signal()
        chosen, found = self.choose(m, goes & ~probe)
        leader = Signal.like(chosen)
        read, made = Signal(), Signal(operands(hw))
        last, count = Signal(), Signal(range(hw.word + 1))

        from_softmax = given.source == Source.PROBABILITIES
        seen = {name: Signal(member.shape, name=f"seen_{name}")
                for name, member in rows.signature.members.items()}
        completed = Mux(from_softmax, seen["probabilities"],
                        Mux(given.norm, seen["normed"], seen["ready"]))
        free = self.i.valid & ~fresh & (left <= 1)
        m.d.comb += [
            probe.eq(given.probe),
            met.eq((given.need <= completed) & (seen["released"] | ~from_softmax)),
            goes.eq(free & met & ((found & self.drained.ready) | probe)),
            counts.source_busy.eq(fresh | (left != 0)),
            self.i.ready.eq(fresh),
            self.queues.accept.eq(assigns << leader),
            self.queues.span.eq(given.drained.span),
            self.read.address.eq(Mux(fresh, given.address, address)),
            self.drained.payload.eq(given.drained), self.drained.p.leader.eq(leader),
            self.drained.valid.eq(assigns),
            current.eq(sent), current.row.eq(sent.row + (self.reads(sent, hw.word)
                                                         >> sent.drained.split)),
            final.eq(Mux(fresh, given.words == 1, left == 1)),
        ]
        m.d.sync += [
            fresh.eq(goes), assigns.eq(goes & ~probe), leader.eq(chosen),
            counts.source_needs.eq(free & ~met), counts.source_full.eq(free & met & ~goes),
            *(seen[name].eq(getattr(rows, name)) for name in rows.signature.members),
        ]
        with m.If(fresh):
            m.d.comb += [current.eq(given), current.drained.leader.eq(leader)]
            m.d.sync += left.eq(given.words - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += [
            address.eq(self.read.address + self.reads(current, 1)), read.eq(counts.source_busy),
            last.eq(final),
            count.eq(Mux(final, current.tail, hw.word)),
            self.o.valid.eq(read), self.o.payload.eq(made),
        ]
        m.d.comb += [made.last.eq(last), made.count.eq(count)]
        with m.If(counts.source_busy):
            m.d.sync += sent.eq(current)
        self.send(m, sent, made)
        self.trace(m, fresh, current, sent, made)

        return m

    def reads(self, given, size: int):
        """``size`` times the words that an item reads at a time."""
        hw = self.hw
        return Mux(given.wide, hw.read_words * size, size) if hw.read_words > 1 else size

    def send(self, m: Module, sent, made):
        """The word that was read, with what its item says of it."""
        word = Signal(data.ArrayLayout(8, self.hw.word))
        with m.Switch(sent.source):
            for source in Source:
                with m.Case(source):
                    m.d.comb += word.eq(self.read.data[source.value])
        m.d.comb += [made[name].eq(sent[name]) for name in ("row", "kv", "columns", "dense")]
        m.d.comb += [made[name].eq(sent.drained[name]) for name in place(self.hw)]
        if self.hw.read_words > 1:
            m.d.comb += [made[name].eq(sent[name]) for name in ("wide", "operand_signed")]
            m.d.comb += [made.beside[n].eq(half) for n, half in enumerate(self.read.beside)]
            m.d.comb += made.upper.eq(self.read.upper)
        before = self.read.data[Source.REFERENCE.value]
        for n in range(self.hw.word):
            m.d.comb += [
                made.operand[n].eq(Mux(sent.operand_signed, word[n].as_signed(), word[n])),
                made.complement[n].eq(~Mux(
                    sent.tracks, Mux(sent.operand_signed, before[n].as_signed(), before[n]),
                    sent.reference)),
            ]

    def trace(self, m: Module, fresh, current, sent, made):
        """Read the references beside the operands."""
        address = self.read.reference_address
        following, recalled = (Signal.like(address, name=name)
                               for name in ("following", "recalled"))
        m.d.comb += address.eq(Mux(
            current.source == Source.REFERENCE, self.read.address,
            Mux(fresh, self.i.p.reference_address, following)))
        m.d.comb += self.read.recalls.eq(
            self.counts.source_busy & (current.tracks | (current.source == Source.REFERENCE)))
        m.d.sync += [following.eq(address + 1), recalled.eq(address)]
        m.d.comb += [made[name].eq(recalled if name == "reference_address" else sent[name])
                     for name in traced(self.hw)]

    def few(self, given):
        """Whether at most two spans share the item's set of groups."""
        gangs = self.hw.gangs
        return Cat((given.drained.span == span) & (given.set_size == index)
                   for index, size in enumerate(gangs)
                   for span, groups in enumerate(gangs) if groups <= size <= 2 * groups).any()

    def choose(self, m: Module, goes):
        """Return the leader for the next item, which ``goes``, and whether there is one."""
        hw, given = self.hw, self.i.p
        eligible, chosen, found = Signal(hw.groups), Signal(range(hw.groups)), Signal()
        leads, inside = Signal(hw.groups), Signal(hw.groups)
        limits = (hw.queue_words // 2, hw.queue_words // 3)
        longer = [given.words > limit for limit in limits]
        beyond = [Signal(name=f"beyond_{limit}") for limit in limits]
        taken = [Signal(hw.groups, name=name) for name in ("taken", "full")]
        second, third = (~long & ~past for long, past in zip(longer, beyond, strict=True))
        third &= self.few(given)
        waits = Cat(waiting != 0 for waiting in self.queues.waiting)
        held = [waits, Cat((waiting == 3) | ((waiting == 2) & ~third)
                           for waiting in self.queues.waiting)]
        with m.If(goes):
            m.d.sync += [past.eq(long | (past & waits.any()))
                         for long, past in zip(longer, beyond, strict=True)]
        with m.Switch(given.drained.span):
            for index, span in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += leads.eq(sum(1 << n for n in range(0, hw.groups, span)))
                    for busy, holds in zip(taken, held, strict=True):
                        m.d.comb += [busy[n].eq(holds[n : n + span].any())
                                     for n in range(0, hw.groups, span)]
        with m.Switch(given.set_size):
            for index, size in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += [inside[n].eq(given.set == n // size) for n in range(hw.groups)]
        m.d.comb += eligible.eq(leads & inside)
        for busy, allowed in ((taken[1], second), (taken[0], 1)):
            for number in reversed(range(hw.groups)):
                with m.If(eligible[number] & ~busy[number] & allowed):
                    m.d.comb += [chosen.eq(number), found.eq(1)]
        return chosen, found
