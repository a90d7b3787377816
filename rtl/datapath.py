"""Everything between the program and the memories: one operator at a time.

::

    item generator ──► operand source ──► event encoder ──► compute unit ──► drain ──► writeback
                             ▲ normalized rows, activations, probabilities ◄──────────────┘
"""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.attention.last_key import LastKey
from deltamoe.rtl.attention.probabilities import Probabilities
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest, Opcode
from deltamoe.rtl.interfaces import Counts, Deferred, Draining, Issue, Loads, Queues, StoreRead
from deltamoe.rtl.linear.compute_unit import ComputeUnit
from deltamoe.rtl.linear.drain import Drain
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.linear.item_generator import ItemGenerator
from deltamoe.rtl.linear.operand_source import OperandSource
from deltamoe.rtl.memory.activations import Activations
from deltamoe.rtl.memory.store_ports import StorePorts
from deltamoe.rtl.moe.dispatch import Dispatch
from deltamoe.rtl.norm.normalization import Normalization
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe
from deltamoe.rtl.temporal.wing import TemporalWing
from deltamoe.rtl.writeback.residual import Residual
from deltamoe.rtl.writeback.writeback import Writeback


class Datapath(wiring.Component):
    """Run ``LINEAR`` and ``ATTENTION``, and read rows for ``STORE``.

    Members
    -------
    issue, draining, deferred : ``In(Issue(hw))``, ``In(Draining())``, ``In(Deferred())``
        Operators on their way.
    queues : ``In(Queues(hw))``
        How many tokens an expert has.
    loads, store : ``In(Loads(hw))``, ``In(StoreRead(hw))``
        The memories.
    counts : ``Out(Counts(…))``
        Counters of :data:`COUNTS`.
    """

    record = Record(twin="integer", area=Area(
        block=lambda hw: (*Activations.rams(hw), Ram(8 * hw.word, hw.reference_words)),
        grows=lambda hw: (hw.word, hw.kept_word, hw.word * (hw.act_row - 2))), combinational={
        "queues.lengths.data": ("queues.lengths.address",),
        "queues.occupied.data": ("queues.occupied.address",),
    })

    COUNTS = ("source_busy", "source_needs", "source_full", "events", "macs", "macs_skipped",
              "worker_busy", "worker_blocked", "drain_busy", "drain_starved", "drain_credit",
              "norm_words", "softmax_words", "routes", "kept_words", "reference_words")

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "issue": In(Issue(hw)), "draining": In(Draining()), "deferred": In(Deferred()),
            "queues": In(Queues(hw)), "loads": In(Loads(hw)), "store": In(StoreRead(hw)),
            "counts": Out(Counts(dict.fromkeys(self.COUNTS, 32))),
        })

    def elaborate(self, platform):
        m, hw = Module(), self.hw
        m.submodules.items = items = ItemGenerator(hw)
        m.submodules.source = source = OperandSource(hw)
        m.submodules.encoder = encoder = EventEncoder(hw)
        m.submodules.compute = compute = ComputeUnit(hw)
        m.submodules.drain = drain = Drain(hw)
        m.submodules.writeback = writeback = Writeback(hw)
        m.submodules.dispatch = dispatch = Dispatch(hw)
        m.submodules.residual = residual = Residual(hw)
        m.submodules.normalization = normalization = Normalization(hw)
        m.submodules.probabilities = probabilities = Probabilities(hw)
        m.submodules.activations = activations = Activations(hw)
        m.submodules.wing = wing = TemporalWing(hw)
        m.submodules.ports = ports = StorePorts(hw)

        for unit in (items, normalization, probabilities):
            wiring.connect(m, flipped(self.issue.operator), unit.operator)
        for output, taker in (
                (items.o, source.i), (source.o, encoder.i), (encoder.o, compute.i),
                (source.drained, drain.i), (drain.o, writeback.i), (encoder.verdict, items.verdict),
                (writeback.scores, probabilities.i), (writeback.residual, residual.i),
                (writeback.routes, dispatch.i), (items.probed, dispatch.probed)):
            pipe(m, output, taker)
        for one, other in (
                (self.draining, writeback.draining), (self.deferred, writeback.deferred),
                (self.queues, dispatch.queues), (self.store, ports.store),
                (self.loads.weight, compute.weights), (self.loads.table, writeback.table),
                (self.loads.norm, normalization.parameters), (self.loads.residual, residual.load),
                (self.loads.image, activations.load), (self.loads.parameter, drain.parameters),
                (self.loads.kept.state, wing.load), (self.loads.kept.reference, encoder.load)):
            wiring.connect(m, flipped(one), other)
        for one, other in (
                (writeback.act, activations.write), (writeback.kv, compute.kv),
                (source.queues, compute.queues), (items.queue, dispatch.read),
                (source.read.act, activations.read), (source.read.normed, normalization.read),
                (source.read.probabilities, probabilities.read),
                (source.read.reference, wing.recall),
                (drain.normalizers, probabilities.normalizers), (drain.kept, wing.kept),
                (encoder.write, wing.update), (normalization.residual, ports.rows),
                (ports.residual, residual.read), (ports.sums, wing.state),
                (ports.references, wing.references), (drain.sums, wing.sums),
                (wing.computed, compute.sums)):
            wiring.connect(m, one, other)
        for unit in (source, encoder, compute, drain, normalization, probabilities, wing):
            m.d.comb += [getattr(self.counts, name).eq(getattr(unit.counts, name))
                         for name in unit.counts.signature.members]
        m.d.comb += [
            self.counts.routes.eq(writeback.routes.valid),
            compute.next_place.eq(encoder.next_place),
            drain.op.eq(self.draining.op), drain.active.eq(self.draining.active),
            drain.row_freed.eq(probabilities.freed), drain.token_freed.eq(writeback.token_freed),
        ]
        if hw.last_key:
            self.connect_last_key(m, source, compute, writeback)
        self.connect_items(m, items, source, dispatch)
        self.connect_rows(m, source, normalization, probabilities)

        return m

    def connect_last_key(self, m, source, compute, writeback):
        """The scores of the last key, beside the groups."""
        m.submodules.last_key = last_key = LastKey(self.hw)
        pipe(m, writeback.keys, last_key.keys)
        pipe(m, last_key.o, compute.last_keys)
        query = source.o.p
        m.d.comb += [last_key.i.valid.eq(source.o.valid & query.extra),
                     last_key.i.p.last.eq(query.last),
                     *(to.eq(element) for to, element in zip(last_key.i.p.data, query.operand,
                                                             strict=True))]

    def connect_items(self, m, items, source, dispatch):
        """The operator's rows, and the queues of tokens."""
        issue, linear = self.issue, self.issue.operator.descriptor.linear
        is_linear = self.issue.operator.descriptor.opcode == Opcode.LINEAR
        m.d.comb += [
            items.rows.eq(issue.rows), items.upcoming.eq(self.queues.lengths.address),
            items.op.eq(issue.op), issue.issued.eq(source.issued | items.judged),
            dispatch.clear.eq(issue.operator.start & is_linear & (
                (linear.dest == Dest.GATE) | ((linear.dest == Dest.CHANGED) & linear.routes))),
            dispatch.gated.eq(self.deferred.operator.descriptor.linear.gated),
        ]

    def connect_rows(self, m, source, normalization, probabilities):
        """How many rows of operands are there."""
        rows, issue = source.rows, self.issue
        m.d.comb += [
            rows.normed.eq(normalization.rows), rows.probabilities.eq(probabilities.rows),
            rows.ready.eq(issue.ready_rows), rows.released.eq(issue.released),
            normalization.available.eq(Mux(issue.released, self.hw.max_tokens, issue.ready_rows)),
        ]
