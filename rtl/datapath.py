"""Everything between the program and the memories: one operator at a time.

::

    item generator ──► operand source ──► event encoder ──► compute unit ──► drain ──► writeback
                             ▲ normalized rows, activations, probabilities ◄──────────────┘
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.attention.probabilities import Probabilities
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Opcode, Source, Target
from deltamoe.rtl.formats import PARAMETER
from deltamoe.rtl.linear.compute_unit import ComputeUnit
from deltamoe.rtl.linear.drain import Drain
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.linear.item_generator import ItemGenerator
from deltamoe.rtl.linear.operand_source import OperandSource
from deltamoe.rtl.memory.halves import Halves
from deltamoe.rtl.memory.loader import Loader, loaded
from deltamoe.rtl.memory.store_ports import StorePorts
from deltamoe.rtl.memory.store_reader import StoreReader
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
    descriptor, start, issued : ``In(DESCRIPTOR)``, ``In(1)``, ``Out(1)``
        The operator being issued, its first cycle, its last item.
    op, released, ready_rows : ``In(3)``, ``In(1)``, ``In(range(hw.max_tokens + 1))``
        Its number; whether what it waits for has finished, else how many rows.
    rows : ``Out(range(hw.max_tokens + 1))``
        Rows of ``descriptor``, if it is an operator: its own, or the length of its queue.
    draining, draining_op, active : ``In``
        The operator whose results may leave, its number, whether there is one.
    deferred, deferred_started : ``In(DESCRIPTOR)``, ``In(1)``
        The last operator to keys or gate, and its first cycle.
    written, row_written, ended : ``Out(1)``
        As in :class:`deltamoe.rtl.writeback.writeback.Writeback`.
    inspected, occupied : ``In(8)``, ``Out(1)``
        Whether an expert has tokens.
    load_… : ``In``
        Write ports, as :class:`deltamoe.rtl.memory.loader.Loader` drives them.
    state_free, reference_free : ``Out(1)``
        Two of these memories are not written by operators in this cycle.
    store_… : as in :class:`deltamoe.rtl.memory.store_reader.StoreReader`
        Read port of what ``STORE`` reads; ``storing`` while it does.
    counts : ``Out``
        Increments of the counters of this cycle, by name.
    """

    record = Record(twin="integer", area=Area(
        block=lambda hw: (
            *Halves.rams(8 * hw.word * hw.act_row, hw.act_words // hw.act_row, hw.act_row),
            Ram(data.ArrayLayout(PARAMETER, hw.word), hw.param_words),
            *((Ram(8 * hw.word, hw.reference_words),) if hw.temporal else ())),
        grows=lambda hw: (hw.word, hw.word * hw.temporal, hw.word * (hw.act_row - 2))))

    COUNTS = ("source_busy", "source_needs", "source_full", "events", "macs", "macs_skipped",
              "worker_busy", "worker_blocked", "drain_busy", "drain_starved", "drain_credit",
              "norm_words", "softmax_words", "routes", "kept_words", "reference_words")

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        ports = Loader.ports(hw)
        super().__init__({
            "descriptor": In(DESCRIPTOR), "start": In(1), "issued": Out(1),
            "rows": Out(range(hw.max_tokens + 1)), "op": In(3), "released": In(1),
            "ready_rows": In(range(hw.max_tokens + 1)),
            "draining": In(DESCRIPTOR), "draining_op": In(3), "active": In(1),
            "deferred": In(DESCRIPTOR), "deferred_started": In(1),
            "written": Out(1), "row_written": Out(1), "ended": Out(1),
            "inspected": In(8), "occupied": Out(1),
            **{f"load_{name}": In(ports[name].shape) for name in loaded(hw)},
            **({"state_free": Out(1), "reference_free": Out(1)} if hw.temporal else {}),
            "storing": In(1), "store_target": In(Target),
            "store_address": In(range(StoreReader.words(hw))),
            "store_half": In(1), "store_granted": Out(1), "store_data": Out(8 * hw.bus_bytes),
            "counts": Out(data.StructLayout(dict.fromkeys(self.COUNTS, 32))),
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

        for unit in (items, normalization, probabilities):
            m.d.comb += [unit.descriptor.eq(self.descriptor), unit.start.eq(self.start)]
        m.d.comb += [writeback.descriptor.eq(self.draining), writeback.deferred.eq(self.deferred),
                     writeback.start.eq(self.deferred_started)]
        pipe(m, items.o, source.i)
        pipe(m, source.o, encoder.i)
        pipe(m, encoder.o, compute.i)
        pipe(m, source.drained, drain.i)
        pipe(m, drain.o, writeback.i)
        pipe(m, writeback.scores, probabilities.i)
        pipe(m, writeback.residual, residual.i)
        pipe(m, writeback.routes, dispatch.i)
        self.connect_items(m, items, source, encoder, compute, dispatch)
        self.connect_drain(m, compute, drain, writeback, probabilities)
        self.connect_memories(m, source, writeback, normalization, probabilities)
        m.submodules.ports = ports = StorePorts(hw)
        self.connect_residual(m, residual, normalization, ports)
        if hw.temporal:
            self.connect_kept(m, items, source, encoder, drain, compute, dispatch, ports)
        m.d.comb += [
            self.written.eq(writeback.written), self.row_written.eq(writeback.row_written),
            self.ended.eq(writeback.ended), self.issued.eq(items.issued),
            compute.weight_write.eq(self.load_weight), compute.weight_groups.eq(self.load_groups),
            compute.kv_write.eq(writeback.kv), compute.kv_groups.eq(writeback.kv_groups),
            writeback.table.eq(self.load_table),
            self.counts.events.eq(encoder.events), self.counts.macs.eq(encoder.macs),
            self.counts.macs_skipped.eq(encoder.skipped),
            self.counts.norm_words.eq(normalization.wrote),
            self.counts.softmax_words.eq(probabilities.wrote),
            self.counts.routes.eq(writeback.routes.valid),
        ]

        return m

    def connect_items(self, m, items, source, encoder, compute, dispatch):
        """The operator's rows and what they wait for."""
        hw, given = self.hw, self.descriptor.linear
        is_linear = self.descriptor.opcode == Opcode.LINEAR
        m.d.comb += [
            self.rows.eq(Mux(is_linear & (given.gather | given.scatter), dispatch.length,
                             self.descriptor.operator.rows)),
            items.rows.eq(self.rows), dispatch.expert.eq(given.queue),
            dispatch.index.eq(items.index),
            dispatch.clear.eq(self.start & is_linear & (given.dest == Dest.GATE)),
            items.token.eq(dispatch.token), items.weight.eq(dispatch.weight),
            items.place.eq(dispatch.place), items.known.eq(dispatch.known),
            dispatch.inspected.eq(self.inspected), self.occupied.eq(dispatch.occupied),
            items.op.eq(self.op), source.released.eq(self.released),
            source.ready_rows.eq(Mux(self.released, hw.max_tokens, self.ready_rows)),
            compute.accept.eq(source.accept), compute.accept_span.eq(source.accept_span),
            self.counts.source_busy.eq(source.busy), self.counts.source_needs.eq(source.needs),
            self.counts.source_full.eq(source.full),
            self.counts.worker_busy.eq(sum(compute.popped)),
            self.counts.worker_blocked.eq(sum(compute.blocked)),
        ]
        m.d.comb += [source.waiting[n].eq(compute.waiting[n]) for n in range(self.hw.groups)]

    def connect_drain(self, m, compute, drain, writeback, probabilities):
        """Accumulators and parameters into the drain."""
        hw = self.hw
        m.submodules.parameters = parameters = Memory(
            shape=data.ArrayLayout(PARAMETER, hw.word), depth=hw.param_words, init=[],
            attrs={"ram_style": "block"}
        )
        write, read = parameters.write_port(), parameters.read_port()
        m.d.comb += [
            write.en.eq(self.load_parameter.en & ~self.load_norm),
            write.addr.eq(self.load_parameter.address), write.data.eq(self.load_parameter.data),
            read.addr.eq(drain.param_address),
            drain.complete.eq(compute.complete), drain.op.eq(self.draining_op),
            drain.active.eq(self.active),
            drain.row_freed.eq(probabilities.freed),
            drain.token_freed.eq(writeback.token_freed),
            compute.select.eq(drain.select), compute.word.eq(drain.word),
            compute.release.eq(drain.release), drain.acc.eq(compute.acc),
            probabilities.slot.eq(drain.slot), drain.normalizer.eq(probabilities.normalizer),
            self.counts.drain_busy.eq(drain.busy), self.counts.drain_starved.eq(drain.starved),
            self.counts.drain_credit.eq(drain.credit),
        ]
        m.d.comb += [drain.params[n].eq(read.data[n]) for n in range(hw.word)]

    def connect_memories(self, m, source, writeback, normalization, probabilities):
        """The three memories that operands come from; the image is among the activations."""
        hw, size = self.hw, self.hw.act_row
        row, low = data.ArrayLayout(8 * hw.word, size), size.bit_length() - 1
        m.submodules.act = act = Halves(row, hw.act_words // size, size)
        part, written, loaded = Signal(low), writeback.act, self.load_image
        m.d.sync += part.eq(source.address[:low])
        m.d.comb += [
            act.load.en.eq(loaded.en.replicate(2) << 2 * loaded.address[: low - 1]),
            act.load.address.eq(loaded.address >> low - 1),
            act.load.data.eq(loaded.data.replicate(size // 2)),
            act.address.eq(source.address >> low),
            act.write.en.eq(written.en << written.address[:low]),
            act.write.address.eq(written.address >> low),
            act.write.data.eq(written.data.as_value().replicate(size)),
            source.data[Source.ACT.value].eq(act.data[part]),
            normalization.read_address.eq(source.address),
            source.data[Source.NORMED.value].eq(normalization.read_data),
            source.normed_rows.eq(normalization.rows),
            normalization.available.eq(source.ready_rows),
            probabilities.read_address.eq(source.address),
            source.data[Source.PROBABILITIES.value].eq(probabilities.read_data),
            source.probability_rows.eq(probabilities.rows),
            normalization.write.eq(self.load_parameter),
            normalization.write.en.eq(self.load_parameter.en & self.load_norm),
        ]

        if hw.read_words > 1:
            m.d.comb += source.upper.eq(act.upper)
            m.d.comb += [source.beside[half][n].eq(act.halves[half][n + 1])
                         for half in range(2) for n in range(hw.read_words - 1)]

    def connect_kept(self, m, items, source, encoder, drain, compute, dispatch, ports):
        """What is kept from the frame before: sums, operands, and which tokens changed."""
        hw, given = self.hw, self.descriptor.linear
        m.submodules.sums = sums = KeptSums(hw)
        m.submodules.references = references = Memory(
            shape=data.ArrayLayout(8, hw.word), depth=hw.reference_words, init=[],
            attrs={"ram_style": "block"})
        write, read = references.write_port(), references.read_port()
        probes = (self.descriptor.opcode == Opcode.LINEAR) & (given.dest == Dest.CHANGED)
        m.d.comb += [
            sums.acc.eq(compute.acc), sums.where.eq(drain.where), drain.acc.eq(sums.sum),
            sums.load.eq(self.load_state), self.state_free.eq(~drain.passes),
            encoder.load.eq(self.load_reference), self.reference_free.eq(encoder.free),
            sums.address.eq(self.store_address), ports.sums.eq(sums.data),
            ports.sums_granted.eq(sums.granted), ports.reference.eq(read.data),
            ports.reference_granted.eq(~source.recalls),
            write.en.eq(encoder.write.en), write.addr.eq(encoder.write.address),
            write.data.eq(encoder.write.data), read.addr.eq(Mux(
                source.recalls, source.reference_address, self.store_address)),
            source.data[Source.REFERENCE.value].eq(read.data),
            items.judged.eq(encoder.judged), items.changed.eq(encoder.changed),
            dispatch.gated.eq(self.deferred.linear.gated),
            dispatch.probed.en.eq(encoder.judged), dispatch.probed.row.eq(items.row),
            dispatch.probed.changed.eq(encoder.changed), dispatch.probed.routes.eq(given.routes),
            self.counts.kept_words.eq(drain.where.accumulates | drain.where.stores),
            self.counts.reference_words.eq(encoder.compares),
        ]
        with m.If(self.start & probes & given.routes):
            m.d.comb += dispatch.clear.eq(1)

    def connect_residual(self, m, residual, normalization, ports):
        """The residual stream: loaded, normalized, stored."""
        stores = self.storing & (self.store_target == Target.RESIDUAL)
        m.d.comb += [
            residual.load.eq(self.load_residual),
            residual.address.eq(Mux(stores, self.store_address, normalization.address)),
            normalization.granted.eq(residual.granted), normalization.residual.eq(residual.data),
            ports.target.eq(self.store_target), ports.half.eq(self.store_half),
            ports.residual.eq(residual.data), ports.residual_granted.eq(residual.granted),
            self.store_granted.eq(ports.granted), self.store_data.eq(ports.data),
        ]
