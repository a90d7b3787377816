"""Accumulators to where their operator wants them.

::

    drain ──► requantize ──► table ──► combine ──┬──► activations
       └──► gate ──► dispatch                    ├──► residual stream
                                                 ├──► values, keys (corner turn)
                                                 └──► scores (softmax)
"""

from amaranth import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.attention.corner_turn import CornerTurn
from deltamoe.rtl.attention.kv_writer import KvWriter
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest
from deltamoe.rtl.formats import beat, requantized, route, scaled, scores
from deltamoe.rtl.interfaces import (
    Deferred,
    Draining,
    GroupWrite,
    Write,
    bytes_of,
    kv_write,
    table_write,
)
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe
from deltamoe.rtl.writeback.activation_table import ActivationTable
from deltamoe.rtl.writeback.combine import Combine
from deltamoe.rtl.writeback.requantize import Requantize
from deltamoe.rtl.writeback.residual import Residual


class Writeback(cycles.Writeback, wiring.Component):
    """The units behind the drain, and the end of the operator.

    Members
    -------
    draining, deferred : ``In(Draining())``, ``In(Deferred())``
        Operators whose results are under way.
    i : ``In(stream.Signature(scaled(hw)))``
        Words from the drain; always taken.
    table : ``In(table_write())``
        Write port of the activation table.
    act : ``Out(Write(hw.act_words, bytes_of(hw)))``
        Write port of the activation memory.
    residual : ``Out(stream.Signature(requantized(hw), always_ready=True))``
        Words for the residual stream.
    kv : ``Out(GroupWrite(hw, kv_write(hw)))``
        Write port of keys and values.
    scores : ``Out(stream.Signature(scores(hw.word)))``
        Words for the softmax.
    routes : ``Out(stream.Signature(route(hw), always_ready=True))``
        Routes for the expert queues.
    token_freed : ``Out(1)``
        The gate has room for another token.
    keys : ``Out(stream.Signature(beat(signed(8), hw.word), always_ready=True))``
        With ``hw.last_key``: words of keys, in the cycle in which the corner turn gets them.

    Timing
    ------
    A word of cycle ``t`` reaches its destination in ``t + LATENCY`` and counts as written in
    ``t + DONE``, but in the gate in ``t``. A value or key is written ``KvWriter.LATENCY`` later.
    """

    record = Record(moves="hands results to the unit they are for", area=Area(), combinational={
        "draining.written": ("i.payload", "i.valid"),
        "i.ready": ("i.payload",),
    })

    i: stream.Interface
    residual: stream.Interface
    scores: stream.Interface
    routes: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "draining": In(Draining()), "deferred": In(Deferred()),
            "i": In(stream.Signature(scaled(hw))),
            "table": In(table_write()), "act": Out(Write(hw.act_words, bytes_of(hw))),
            "residual": Out(stream.Signature(requantized(hw), always_ready=True)),
            "kv": Out(GroupWrite(hw, kv_write(hw))),
            "scores": Out(stream.Signature(scores(hw.word))),
            "routes": Out(stream.Signature(route(hw), always_ready=True)),
            "token_freed": Out(1),
            **({"keys": Out(stream.Signature(beat(signed(8), hw.word), always_ready=True))}
               if hw.last_key else {}),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.submodules.requantize = requantize = Requantize(hw)
        m.submodules.table = table = ActivationTable(hw)
        m.submodules.combine = combine = Combine(hw)
        m.submodules.corner_turn = corner_turn = CornerTurn(hw)
        m.submodules.kv_writer = kv_writer = KvWriter(hw)
        m.submodules.gate = gate = Gate(hw)
        is_gate = self.i.p.tag.dest == Dest.GATE

        m.d.comb += [
            requantize.i.payload.eq(self.i.payload),
            requantize.i.valid.eq(self.i.valid & ~is_gate),
            self.i.ready.eq(~is_gate | gate.i.ready),
            kv_writer.descriptor.eq(self.draining.operator.descriptor),
            corner_turn.words.eq(self.deferred.operator.descriptor.linear.columns // hw.word),
        ]
        wiring.connect(m, wiring.flipped(self.deferred.operator), kv_writer.key_operator)
        wiring.connect(m, wiring.flipped(self.table), table.write)
        wiring.connect(m, kv_writer.write, wiring.flipped(self.kv))
        pipe(m, requantize.o, table.i)
        pipe(m, table.o, combine.i)
        pipe(m, corner_turn.o, kv_writer.keys)
        self.route(m, gate, is_gate)
        self.distribute(m, combine.o, corner_turn, kv_writer)
        self.conclude(m, combine.o, is_gate, kv_writer)

        return m

    def route(self, m: Module, gate: Gate, is_gate):
        """Send the gate's accumulators to the gate."""
        pipe(m, gate.o, wiring.flipped(self.routes))
        linear, settings = self.deferred.operator.descriptor.linear, gate.settings
        m.d.comb += [
            gate.i.valid.eq(self.i.valid & is_gate), gate.i.p.last.eq(self.i.p.tag.last),
            gate.i.p.data.eq(self.i.p.acc), settings.num_experts.eq(linear.num_experts),
            settings.top_k.eq(linear.top_k), settings.multiplier.eq(linear.multiplier),
            settings.shift.eq(linear.shift), self.token_freed.eq(gate.freed),
        ]
        memory = gate.memory
        m.d.comb += [memory.start.eq(self.deferred.operator.start),
                     memory.base.eq(linear.remembered_base), memory.top_k.eq(linear.top_k),
                     memory.remembers.eq(linear.remembers), memory.fresh.eq(linear.fresh)]

    def distribute(self, m: Module, word: stream.Interface, corner_turn, kv_writer):
        """Send a requantized word where its tag says."""
        tag, valid = word.p.tag, word.valid
        dest = tag.dest
        to_residual = ((dest == Dest.RESIDUAL) | (dest == Dest.COMBINE) | (dest == Dest.OUTPUT))
        m.d.comb += [
            self.act.en.eq(valid & ((dest == Dest.ACT) | (dest == Dest.HIDDEN))),
            self.act.address.eq(tag.address),
            self.residual.valid.eq(valid & to_residual), self.residual.payload.eq(word.payload),
            kv_writer.values.valid.eq(valid & (dest == Dest.VALUE)),
            kv_writer.values.payload.eq(word.payload),
            corner_turn.i.valid.eq(valid & (dest == Dest.KEY)),
            corner_turn.i.p.last.eq(tag.last), corner_turn.i.p.flush.eq(tag.flush),
            self.scores.valid.eq(valid & (dest == Dest.SCORES)),
            self.scores.p.last.eq(tag.last), self.scores.p.count.eq(tag.count),
        ]
        for n in range(self.hw.word):
            m.d.comb += [
                self.act.data[n].eq(word.p.data[n]), corner_turn.i.p.data[n].eq(word.p.data[n]),
                self.scores.p.data[n].eq(word.p.data[n]),
            ]
        if self.hw.last_key:
            m.d.comb += [self.keys.valid.eq(corner_turn.i.valid),
                         self.keys.p.data.eq(corner_turn.i.p.data), self.keys.p.last.eq(tag.last)]

    def conclude(self, m: Module, word: stream.Interface, is_gate, kv_writer):
        """Tell the ends of rows and operators."""
        ending, rows = Signal(Residual.LATENCY), Signal(Residual.LATENCY)
        last_token = Signal(range(self.hw.max_tokens))
        routed = self.routes.valid & self.routes.p.last
        inner = (word.p.tag.dest == Dest.SCORES) | (word.p.tag.dest == Dest.KEY)
        m.d.sync += [ending.eq((ending << 1) | (word.valid & word.p.tag.final)),
                     rows.eq((rows << 1) | (word.valid & word.p.tag.last & ~inner))]
        with m.If(self.deferred.operator.start):
            m.d.sync += last_token.eq(self.deferred.operator.descriptor.linear.rows - 1)
        with m.Elif(routed):
            m.d.sync += last_token.eq(last_token - 1)
        m.d.comb += [
            self.draining.written.eq(ending[-1] | (self.i.valid & is_gate & self.i.p.tag.final)),
            self.draining.row_written.eq(rows[-1]),
            self.deferred.ended.eq(kv_writer.finished | (routed & (last_token == 0))),
        ]
