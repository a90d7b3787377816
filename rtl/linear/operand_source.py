"""Items to words of operands: waits for what an item needs, picks a queue, reads the row.

::

    i ──►│──┬──► rows there? ──────►│──► leader ──►│──► address ──►│ memories ──►│──► pick ──►│──► o
            └──► which may lead? ──►│
"""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Source
from deltamoe.rtl.formats import drained, extra, item, operands, place, traced
from deltamoe.rtl.interfaces import ActivationRead, Counts, Read, Recall, bytes_of
from deltamoe.rtl.linear.compute_unit import Assignment
from deltamoe.rtl.record import Area, Record


def lowest(mask):
    """Return the lowest bit that is set, alone."""
    return Cat(bit & ~mask[:n].any() for n, bit in enumerate(mask))


class CompleteRows(wiring.Signature):
    """Rows that items may be waiting for.

    Members
    -------
    normed, probabilities : ``Out(range(hw.max_tokens + 1))``, ``Out(range(hw.score_rows + 1))``
        Rows that the normalization and the softmax have completed since the operator began.
    ready, released : ``Out(range(hw.max_tokens + 1))``, ``Out(1)``
        Complete rows of the operator that this one waits for, which no longer matter when all of
        them are.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "normed": Out(range(hw.max_tokens + 1)), "probabilities": Out(range(hw.score_rows + 1)),
            "ready": Out(range(hw.max_tokens + 1)), "released": Out(1),
        })


class OperandRead(wiring.Signature):
    """Read ports of the memories of operands, one for each :class:`Source` by its name.

    Members
    -------
    act : ``Out(ActivationRead(hw))``
        Activations, and the words beside. Which half of the memory to take of those fits into the
        LUTs of the encoder's subtraction, where it costs nothing.
    normed, probabilities : ``Out(Read(…))``
        Normalized rows, rows of exponentials.
    reference : ``Out(Recall(hw))``
        References, which are read beside any of the others.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "act": Out(ActivationRead(hw)), "normed": Out(Read(hw.normed_words, bytes_of(hw))),
            "probabilities": Out(Read(hw.probability_words, bytes_of(hw))),
            "reference": Out(Recall(hw)),
        })


class OperandSource(cycles.OperandSource, wiring.Component):
    """Hand every item to the freest groups and stream its row.

    An item goes to the lowest-numbered span whose groups have no item waiting, else to the lowest
    whose groups have one, or two if the set has no more than two spans; but a queue must hold
    all of them if they are as long as the longest that came since no item waited anywhere. A span
    begins at one of the groups that the item names. All items of an operator have spans of one
    size, so an item that has just gone to a span is one more for that span, and for no other.
    Three that wait even out parts of a sum that have unequally many events: 192 x 192 weights at
    density 25 % reach 94 % of the ideal speed, and 87 % with two. With many spans, as attention
    has, they would gather at the lowest: deit-tiny-197 would take 1.5 % longer on ``zcu102``.

    Members
    -------
    i : ``In(stream.Signature(item(hw)))``
        Items in issue order; ``drained.leader`` is chosen here. One is held while the one before
        is read, so it is taken before it is begun.
    issued : ``Out(1)``
        The operator's last item is begun.
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
    An item is held ``HELD`` cycles after it is on ``i``, or when the one before it leaves. If an
    item of ``n`` reads is chosen for in cycle ``t``, its rows are complete and there is room for it
    then; the leader is picked in the cycle after, and it is begun in ``t + CHOSEN``, when it reads
    its first word, which is on ``o`` ``LATENCY`` cycles later. Words of all memories are in
    registers before one is chosen; those of the activations are in their own room. The next item is
    chosen for in ``t + n`` at the earliest, or ``t + SHORTEST``; then ``waiting`` does not tell of
    the item that is being begun, and ``queues.accept`` is added. ``i.ready``, ``issued``,
    ``queues`` and ``drained`` come from registers. No path is longer than 6.5 levels of LUTs on
    ``zcu102``, where the choice in a single cycle took 16; with items at least three cycles apart
    nothing would have to be added, but m3vit-tiny-129 would take 0.8 % longer.
    """

    record = Record(moves="orders operands", area=Area(
        grows=lambda hw: (
            hw.word, hw.groups, hw.kept_word, hw.word * (hw.read_words - 1))))

    i: stream.Interface
    o: stream.Interface
    drained: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(item(hw))), "queues": Out(Assignment(hw)),
            "rows": In(CompleteRows(hw)), "read": Out(OperandRead(hw)),
            "o": Out(stream.Signature(operands(hw))), "issued": Out(1),
            "drained": Out(stream.Signature(drained(hw))),
            "counts": Out(Counts({"source_busy": 1, "source_needs": 1, "source_full": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        hw, counts, address = self.hw, self.counts, Signal(range(self.hw.operand_words))
        given, current, fetched, sent = (Signal(item(hw), name=name)
                                         for name in ("given", "current", "fetched", "sent"))
        made, left = Signal(operands(hw)), Signal.like(given.words)
        holds, moves, takes = Signal(), Signal(), Signal()
        offered, met, probes, fresh = Signal(), Signal(), Signal(), Signal()
        free, goes, assigned = Signal(), Signal(), Signal()
        m.d.comb += [port.address.eq(address) for port in (
            self.read.act, self.read.normed, self.read.probabilities)]
        found, leads = self.choose(m, given, goes & ~probes)
        leader, led = Signal.like(current.drained.leader), Signal.like(current.drained.leader)
        word = data.StructLayout({"present": 1, "last": 1, "count": range(hw.word + 1)})
        asked, came = Signal(word), Signal(word)

        m.d.comb += [
            moves.eq(goes | ~holds), takes.eq(moves & self.i.valid),
            free.eq(offered & ~fresh & ~left[1:].any()),
            goes.eq(free & met & ((found & self.drained.ready) | probes)),
            counts.source_busy.eq(left != 0),
            self.issued.eq(assigned & current.drained.final),
            self.queues.span.eq(current.drained.span),
            leader.eq(Cat(Cat(leads for n, leads in enumerate(self.queues.accept)
                              if n >> bit & 1).any() for bit in range(len(leader)))),
            self.drained.payload.eq(current.drained), self.drained.p.leader.eq(leader),
            self.drained.valid.eq(assigned),
        ]
        m.d.sync += [
            self.i.ready.eq(takes), holds.eq(takes | (holds & ~goes)),
            offered.eq(holds), met.eq(self.met(given)),
            probes.eq(given.probe),
            fresh.eq(goes), assigned.eq(goes & ~probes),
            self.queues.accept.eq(leads & (goes & ~probes).replicate(hw.groups)),
            counts.source_needs.eq(free & ~met), counts.source_full.eq(free & met & ~goes),
            left.eq(left - counts.source_busy),
            address.eq(address + self.reads(current, 1)),
            current.row.eq(current.row + (self.reads(current, hw.word)
                                          >> current.drained.split)),
            fetched.eq(current), sent.eq(fetched), sent.drained.leader.eq(led),
            asked.present.eq(counts.source_busy), asked.last.eq(left == 1),
            asked.count.eq(Mux(left == 1, current.tail, hw.word)), came.eq(asked),
            self.o.valid.eq(came.present), self.o.payload.eq(made),
        ]
        with m.If(moves):
            m.d.sync += given.eq(self.i.payload)
        with m.If(goes):
            m.d.sync += [current.eq(given), left.eq(given.words), address.eq(given.address)]
        with m.If(fresh):
            m.d.sync += led.eq(leader)
        self.send(m, sent, made)
        m.d.comb += [made.last.eq(came.last), made.count.eq(came.count),
                     made.leader.eq(sent.drained.leader)]
        self.trace(m, goes, given, current, sent, made)

        return m

    def met(self, given):
        """Whether the rows that an item needs are complete."""
        rows = self.rows
        from_softmax = given.source == Source.PROBABILITIES
        enough = given.need <= Mux(from_softmax, rows.probabilities,
                                   Mux(given.norm, rows.normed, rows.ready))
        return Mux(from_softmax, enough & rows.released, enough | (rows.released & ~given.norm))

    def reads(self, given, size: int):
        """``size`` times the words that an item reads at a time."""
        hw = self.hw
        return Mux(given.wide, hw.read_words * size, size) if hw.read_words > 1 else size

    def send(self, m: Module, sent, made):
        """The word that was read, with what its item says of it."""
        word = Signal(data.ArrayLayout(8, self.hw.word))
        words = {Source.ACT: self.read.act.data}
        for source in Source:
            if source not in words:
                port = getattr(self.read, source.name.lower())
                words[source] = Signal.like(port.data, name=f"{source.name.lower()}_word")
                m.d.sync += words[source].eq(port.data)
        with m.Switch(sent.source):
            for source in Source:
                with m.Case(source):
                    m.d.comb += word.eq(words[source])
        m.d.comb += [made[name].eq(sent[name])
                     for name in ("row", "kv", "columns", "dense", *extra(self.hw))]
        m.d.comb += [made[name].eq(sent.drained[name]) for name in place(self.hw)]
        if self.hw.read_words > 1:
            m.d.comb += [made[name].eq(sent[name]) for name in ("wide", "operand_signed")]
            m.d.comb += [made.beside[n].eq(half) for n, half in enumerate(self.read.act.beside)]
            m.d.comb += made.upper.eq(self.read.act.upper)
        before = words[Source.REFERENCE]
        for n in range(self.hw.word):
            m.d.comb += [
                made.operand[n].eq(Mux(sent.operand_signed, word[n].as_signed(), word[n])),
                made.complement[n].eq(~Mux(
                    sent.tracks, Mux(sent.operand_signed, before[n].as_signed(), before[n]),
                    sent.reference)),
            ]

    def trace(self, m: Module, goes, given, current, sent, made):
        """Read the references beside the operands."""
        reference = self.read.reference
        address = reference.address
        asked, recalled = (Signal.like(address, name=name) for name in ("recalling", "recalled"))
        m.d.comb += reference.recalls.eq(
            self.counts.source_busy & (current.tracks | (current.source == Source.REFERENCE)))
        m.d.sync += [address.eq(address + 1), asked.eq(address), recalled.eq(asked)]
        with m.If(goes):
            m.d.sync += address.eq(Mux(
                given.source == Source.REFERENCE, given.address, given.reference_address))
        m.d.comb += [made[name].eq(recalled if name == "reference_address" else sent[name])
                     for name in traced(self.hw)]

    def choose(self, m: Module, given, assigns):
        """Return whether there is a group to lead the next item, and which one, one-hot.

        The item is ``assigned`` in the next cycle if it ``assigns``.
        """
        hw, waiting = self.hw, self.queues.waiting
        limits = (hw.queue_words // 2, hw.queue_words // 3)
        longer = [Signal(name=f"longer_{limit}") for limit in limits]
        beyond = [Signal(name=f"beyond_{limit}") for limit in limits]
        second, third = (~(given.words > limit) & ~past
                         for limit, past in zip(limits, beyond, strict=True))
        idle, roomy, anywhere = Signal(hw.groups), Signal(hw.groups), Signal()
        below = [Signal(hw.groups, name=f"below_{most}") for most in (1, 2, 3)]
        with m.Switch(given.drained.span):
            for index, span in enumerate(hw.gangs):
                with m.Case(index):
                    for most, spans in enumerate(below, 1):
                        m.d.comb += [spans[n].eq(Cat(
                            waits < most for waits in waiting[n : n + span]).all())
                            for n in range(0, hw.groups, span)]
        accept = self.queues.accept
        one, two, three = (spans & (~accept | fewer) for fewer, spans in pairwise((0, *below)))
        m.d.sync += [
            idle.eq(given.leads & one),
            roomy.eq(given.leads & Mux(third & given.few, three, Mux(second, two, one))),
            anywhere.eq(Cat(waits != 0 for waits in waiting).any() | accept.any()),
            *(long.eq(given.words > limit) for limit, long in zip(limits, longer, strict=True)),
        ]
        with m.If(assigns):
            m.d.sync += [past.eq(long | (past & anywhere))
                         for long, past in zip(longer, beyond, strict=True)]
        return roomy.any(), Mux(idle.any(), lowest(idle), lowest(roomy))
