"""Everything between the program and the memories: one operator at a time.

::

    item generator ──► operand source ──► event encoder ──► compute unit ──► drain ──► writeback
                             ▲ normalized rows, activations, probabilities ◄──────────────┘
"""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.attention.probabilities import Probabilities
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest, Opcode, Source
from deltamoe.rtl.interfaces import (
    Counts,
    Deferred,
    Draining,
    Issue,
    Loads,
    Queues,
    StoreRead,
    attach,
    bytes_of,
    parameters_of,
)
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
from deltamoe.rtl.temporal.kept_sums import KeptSums
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
        block=lambda hw: (
            *Activations.rams(hw), Ram(parameters_of(hw), hw.param_words),
            *((Ram(8 * hw.word, hw.reference_words),) if hw.temporal else ())),
        grows=lambda hw: (hw.word, hw.word * hw.temporal, hw.word * (hw.act_row - 2))),
                    combinational={
        "issue.issued": ("issue.operator.descriptor",),
        "queues.lengths.data": ("queues.lengths.address",),
        "queues.occupied.data": ("queues.occupied.address",),
        "store.data": ("store.target",),
        "store.granted": ("issue.operator.descriptor", "store.target"),
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
        m = Module()
        hw = self.hw
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

        for unit in (items, normalization, probabilities):
            wiring.connect(m, flipped(self.issue.operator), unit.operator)
        wiring.connect(m, flipped(self.draining), writeback.draining)
        wiring.connect(m, flipped(self.deferred), writeback.deferred)
        pipe(m, items.o, source.i)
        pipe(m, source.o, encoder.i)
        pipe(m, encoder.o, compute.i)
        pipe(m, source.drained, drain.i)
        pipe(m, drain.o, writeback.i)
        pipe(m, writeback.scores, probabilities.i)
        pipe(m, writeback.residual, residual.i)
        pipe(m, writeback.routes, dispatch.i)
        self.connect_items(m, items, source, dispatch)
        self.connect_drain(m, compute, drain, writeback, probabilities)
        self.connect_operands(m, source, activations, normalization, probabilities)
        m.submodules.ports = ports = StorePorts(hw)
        self.connect_residual(m, residual, normalization, ports)
        if hw.temporal:
            self.connect_kept(m, items, source, encoder, drain, compute, dispatch, ports)
        m.d.comb += self.counts.routes.eq(writeback.routes.valid)
        for unit in (source, encoder, compute, drain, normalization, probabilities):
            m.d.comb += [getattr(self.counts, name).eq(getattr(unit.counts, name))
                         for name in unit.counts.signature.members]
        wiring.connect(m, flipped(self.loads.weight), compute.weights)
        wiring.connect(m, flipped(self.loads.table), writeback.table)
        wiring.connect(m, flipped(self.loads.norm), normalization.parameters)
        wiring.connect(m, flipped(self.loads.residual), residual.load)
        wiring.connect(m, flipped(self.loads.image), activations.load)
        wiring.connect(m, writeback.act, activations.write)
        wiring.connect(m, writeback.kv, compute.kv)
        wiring.connect(m, source.queues, compute.queues)

        return m

    def connect_items(self, m, items, source, dispatch):
        """The operator's rows and what they wait for."""
        hw, issue, descriptor = self.hw, self.issue, self.issue.operator.descriptor
        given, is_linear = descriptor.linear, descriptor.opcode == Opcode.LINEAR
        m.d.comb += [
            items.rows.eq(issue.rows), items.op.eq(issue.op), issue.issued.eq(items.issued),
            dispatch.clear.eq(issue.operator.start & is_linear & (given.dest == Dest.GATE)),
            source.rows.released.eq(issue.released),
            source.rows.ready.eq(Mux(issue.released, hw.max_tokens, issue.ready_rows)),
        ]
        wiring.connect(m, items.queue, dispatch.read)
        wiring.connect(m, flipped(self.queues), dispatch.queues)

    def connect_drain(self, m, compute, drain, writeback, probabilities):
        """Accumulators and parameters into the drain."""
        hw = self.hw
        m.submodules.parameters = parameters = Memory(
            shape=parameters_of(hw), depth=hw.param_words, init=[],
            attrs={"ram_style": "block"}
        )
        attach(m, self.loads.parameter, parameters.write_port())
        attach(m, drain.parameters, parameters.read_port())
        wiring.connect(m, drain.normalizers, probabilities.normalizers)
        m.d.comb += [
            drain.op.eq(self.draining.op), drain.active.eq(self.draining.active),
            drain.row_freed.eq(probabilities.freed),
            drain.token_freed.eq(writeback.token_freed),
            compute.sums.groups.eq(drain.sums.groups), compute.sums.gang.eq(drain.sums.gang),
            compute.sums.word.eq(drain.sums.word),
            compute.sums.release.eq(drain.sums.release),
            drain.sums.complete.eq(compute.sums.complete), drain.sums.acc.eq(compute.sums.acc),
        ]

    def connect_operands(self, m, source, activations, normalization, probabilities):
        """The memories that operands come from, and how much of them is there."""
        read, rows = source.read, source.rows
        for kind, port in ((Source.ACT, activations.read), (Source.NORMED, normalization.read),
                           (Source.PROBABILITIES, probabilities.read)):
            m.d.comb += [port.address.eq(read.address), read.data[kind.value].eq(port.data)]
        m.d.comb += [
            rows.normed.eq(normalization.rows), normalization.available.eq(rows.ready),
            rows.probabilities.eq(probabilities.rows),
        ]
        if self.hw.read_words > 1:
            beside = activations.read
            m.d.comb += [read.upper.eq(beside.upper),
                         *(read.beside[n].eq(beside.beside[n]) for n in range(2))]

    def connect_kept(self, m, items, source, encoder, drain, compute, dispatch, ports):
        """What is kept from the frame before: sums, operands, and which tokens changed."""
        hw, descriptor = self.hw, self.issue.operator.descriptor
        given = descriptor.linear
        m.submodules.sums = sums = KeptSums(hw)
        m.submodules.references = references = Memory(
            shape=bytes_of(hw), depth=hw.reference_words, init=[],
            attrs={"ram_style": "block"})
        read = references.read_port()
        attach(m, encoder.write, references.write_port())
        wiring.connect(m, drain.kept, sums.kept)
        wiring.connect(m, ports.sums, sums.store)
        wiring.connect(m, flipped(self.loads.kept.state), sums.load)
        wiring.connect(m, flipped(self.loads.kept.reference), encoder.load)
        pipe(m, encoder.verdict, items.verdict)
        probes = (descriptor.opcode == Opcode.LINEAR) & (given.dest == Dest.CHANGED)
        m.d.comb += [
            sums.acc.eq(compute.sums.acc), drain.sums.acc.eq(sums.sum),
            ports.references.data.eq(read.data),
            ports.references.granted.eq(~source.read.recalls),
            read.addr.eq(Mux(source.read.recalls, source.read.reference_address,
                             ports.references.address)),
            source.read.data[Source.REFERENCE.value].eq(read.data),
            dispatch.gated.eq(self.deferred.operator.descriptor.linear.gated),
            dispatch.probed.valid.eq(encoder.verdict.valid), dispatch.probed.p.row.eq(items.row),
            dispatch.probed.p.changed.eq(encoder.verdict.payload),
            dispatch.probed.p.routes.eq(given.routes),
            self.counts.kept_words.eq(drain.kept.where.accumulates | drain.kept.where.stores),
        ]
        with m.If(self.issue.operator.start & probes & given.routes):
            m.d.comb += dispatch.clear.eq(1)

    def connect_residual(self, m, residual, normalization, ports):
        """The residual stream: normalized, stored."""
        wiring.connect(m, flipped(self.store), ports.store)
        wiring.connect(m, normalization.residual, ports.rows)
        wiring.connect(m, ports.residual, residual.read)
