"""A descriptor to its items of work, in the order they are issued and drained.

``LINEAR`` walks rows and, within a row, passes of columns, or probes rows for changes.
``ATTENTION`` walks the rows of scores, token by token and head by head, and sums the values of the
row ``lag`` rows behind.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest, Mode, Opcode
from deltamoe.rtl.formats import item, probed, queued
from deltamoe.rtl.interfaces import Operator, Read
from deltamoe.rtl.linear.attention_items import AttentionItems
from deltamoe.rtl.linear.linear_items import LinearItems
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe
from deltamoe.rtl.temporal.probe_items import ProbeItems


class ItemGenerator(cycles.ItemGenerator, wiring.Component):
    """Choose between the two walks, and add what is the same for all items of the operator.

    Members
    -------
    operator : ``In(Operator())``
        The operator; the first item follows three cycles after it begins.
    op : ``In(3)``
        Number of the operator.
    rows : ``In(range(hw.max_tokens + 1))``
        Rows of a ``LINEAR``: the descriptor's, or the length of the expert's queue.
    upcoming : ``In(8)``
        Queue of the operator that may begin in the next cycle.
    queue : ``Out(Read(hw.queues * hw.queue_depth, queued(hw)))``
        Entries of the experts' queues.
    verdict : ``In(stream.Signature(1, always_ready=True))``
        As in :class:`deltamoe.rtl.temporal.probe_items.ProbeItems`.
    probed : ``Out(stream.Signature(probed(hw), always_ready=True))``
        The token that is judged.
    judged : ``Out(1)``
        The last token of a probe is judged, and what is kept of it is on its way.
    o : ``Out(stream.Signature(item(hw)))``
        Items, one every two cycles. Which walk they are of, and what is the same for all of an
        operator, comes from registers that follow its descriptor.
    """

    record = Record(moves="orders items", area=Area(
        multipliers=lambda hw: 4 if hw.state_bits else 2,
        grows=lambda hw: (hw.groups, hw.state_bits)), combinational={
        "judged": ("o.ready", "verdict.payload", "verdict.valid"),
        "probed.payload": ("operator.descriptor", "verdict.payload"),
        "probed.valid": ("verdict.valid",),
        "o.payload": ("op", "operator.descriptor"),
        "queue.address": ("operator.descriptor", "upcoming"),
    })

    o: stream.Interface
    probed: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "operator": In(Operator()), "op": In(3),
            "rows": In(range(hw.max_tokens + 1)), "upcoming": In(8),
            "queue": Out(Read(hw.queues * hw.queue_depth, queued(hw))),
            "o": Out(stream.Signature(item(hw))),
            "verdict": In(stream.Signature(1, always_ready=True)),
            "probed": Out(stream.Signature(probed(hw), always_ready=True)),
            "judged": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.linear = linear = LinearItems(self.hw)
        m.submodules.attention = attention = AttentionItems(self.hw)
        begins_attention, is_attention, skips = Signal(), Signal(), Signal()
        reference = Signal.like(self.o.p.reference)
        descriptor, start, payload = self.operator.descriptor, self.operator.start, self.o.p
        layer, shared = descriptor.linear, descriptor.operator

        wiring.connect(m, linear.queue, flipped(self.queue))
        m.d.comb += [
            begins_attention.eq(descriptor.opcode == Opcode.ATTENTION),
            linear.operator.descriptor.eq(descriptor), attention.operator.descriptor.eq(descriptor),
            linear.operator.start.eq(start & ~begins_attention),
            attention.operator.start.eq(start & begins_attention),
            linear.rows.eq(self.rows), linear.upcoming.eq(self.upcoming),
            self.o.payload.eq(Mux(is_attention, attention.o.payload.as_value(),
                                  linear.o.payload.as_value())),
            self.o.valid.eq(Mux(is_attention, attention.o.valid, linear.o.valid)),
            linear.o.ready.eq(self.o.ready & ~is_attention),
            attention.o.ready.eq(self.o.ready & is_attention),
            payload.dense.eq(~skips), payload.reference.eq(Mux(is_attention, 0, reference)),
            payload.drained.op.eq(self.op), payload.drained.shift.eq(shared.shift),
            payload.drained.bank.eq(layer.bank),
        ]
        m.d.sync += [
            is_attention.eq(begins_attention), skips.eq(shared.mode == Mode.ZERO_SKIP),
            reference.eq(Mux(shared.mode == Mode.ZERO_SKIP, Mux(
                layer.operand_signed, layer.zero_point.as_signed(), layer.zero_point), 0)),
        ]
        if self.hw.temporal:
            self.trace(m, linear, is_attention, begins_attention)

        return m

    def trace(self, m: Module, linear, is_attention, begins_attention):
        """Compare with what was kept, or probe."""
        m.submodules.probe = probe = ProbeItems(self.hw)
        pipe(m, flipped(self.verdict), probe.verdict)
        layer, payload = self.operator.descriptor.linear, self.o.p
        begins_probe, probes = Signal(), Signal()
        is_dense, is_delta, silent, moves, stores = (
            Signal(name=name) for name in ("is_dense", "is_delta", "silent", "moves", "stores"))
        theta = Signal.like(layer.theta)
        m.d.sync += [
            probes.eq(begins_probe), is_dense.eq(layer.mode == Mode.DENSE),
            is_delta.eq(layer.mode == Mode.DELTA), silent.eq(layer.mode == Mode.REPLAY),
            moves.eq((layer.mode == Mode.DELTA) & ~layer.keeps),
            stores.eq((layer.mode == Mode.DELTA) | layer.stores),
            theta.eq(Mux(layer.mode == Mode.DELTA, layer.theta, 0)),
        ]
        m.d.comb += [
            begins_probe.eq(~begins_attention & (layer.dest == Dest.CHANGED)),
            probe.operator.descriptor.eq(self.operator.descriptor),
            probe.operator.start.eq(self.operator.start & begins_probe),
            self.probed.valid.eq(self.verdict.valid), self.probed.p.row.eq(probe.row),
            self.probed.p.changed.eq(self.verdict.payload), self.probed.p.routes.eq(layer.routes),
            probe.o.ready.eq(self.o.ready & probes),
        ]
        with m.If(begins_probe):
            m.d.comb += linear.operator.start.eq(0)
        with m.If(probes):
            m.d.comb += [self.o.payload.eq(probe.o.payload), self.o.valid.eq(probe.o.valid),
                         self.judged.eq(probe.done)]
        with m.Elif(~is_attention):
            known = linear.o.p.tracks
            m.d.comb += [
                payload.dense.eq(is_dense | (is_delta & ~known)),
                payload.silent.eq(silent), payload.theta.eq(theta),
                payload.words.eq(Mux(silent, 1, linear.o.p.words)),
                payload.tracks.eq(is_delta & known),
                payload.updates.eq(moves & linear.o.p.drained.last),
                payload.drained.accumulates.eq((is_delta & known) | silent | layer.adds),
                payload.drained.stores.eq(stores),
            ]
