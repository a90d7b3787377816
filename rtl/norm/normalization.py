"""Rows of the residual stream, normalized, into the memory of normalized rows."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Opcode
from deltamoe.rtl.interfaces import (
    Counts,
    Operator,
    Read,
    Write,
    YieldingRead,
    attach,
    bytes_of,
    parameters_of,
    residual_of,
)
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.memory.row_reader import RowReader
from deltamoe.rtl.norm.layer_norm import LayerNorm
from deltamoe.rtl.record import Area, Ram, Record


class Normalization(wiring.Component):
    """Normalize the rows that an operator with ``norm`` needs, ahead of its items.

    Members
    -------
    operator : ``In(Operator())``
        If a ``LINEAR`` with ``norm``: ``rows`` rows of ``dim`` elements from word ``norm_source``
        on; parameters from ``norm_base`` on.
    available : ``In(range(hw.max_tokens + 1))``
        Rows of the residual stream that are final.
    residual : ``Out(YieldingRead(hw.residual_words, residual_of(hw)))``
        The residual stream.
    parameters : ``In(Write(hw.norm_words, parameters_of(hw)))``
        LayerNorm's parameters.
    read : ``In(Read(hw.normed_words, bytes_of(hw)))``
        Normalized rows.
    rows : ``Out(range(hw.max_tokens + 1))``
        Rows complete since the operator began.
    counts : ``Out(Counts(…))``
        A word is being written.

    Timing
    ------
    Row ``r`` is complete ``RowReader.LATENCY + words + LayerNorm.latency(hw) + words - 1`` cycles
    after ``start`` for ``r = 0`` and follows LayerNorm's interval after that.
    """

    record = Record(twin="arithmetic.layer_norm", area=Area(
        block=lambda hw: (Ram(8 * hw.word, hw.normed_words),)))

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "operator": In(Operator()), "available": In(range(hw.max_tokens + 1)),
            "residual": Out(YieldingRead(hw.residual_words, residual_of(hw))),
            "parameters": In(Write(hw.norm_words, parameters_of(hw))),
            "read": In(Read(hw.normed_words, bytes_of(hw))),
            "rows": Out(range(hw.max_tokens + 1)), "counts": Out(Counts({"norm_words": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        hw, linear = self.hw, self.operator.descriptor.linear
        is_linear = self.operator.descriptor.opcode == Opcode.LINEAR
        m.submodules.reader = reader = RowReader(hw)
        m.submodules.layer_norm = layer_norm = LayerNorm(hw)
        settings = layer_norm.settings
        m.submodules.normed = normed = BlockMemory(bytes_of(hw), hw.normed_words)
        write = normed.write_port()
        address = Signal(range(hw.normed_words))

        attach(m, self.read, normed.read_port())
        wiring.connect(m, reader.read, flipped(self.residual))
        wiring.connect(m, flipped(self.parameters), layer_norm.parameters)
        m.d.comb += [
            reader.start.eq(self.operator.start & is_linear & linear.norm),
            reader.base.eq(linear.norm_source),
            reader.rows.eq(linear.rows), reader.words.eq(linear.dim // hw.word),
            reader.available.eq(self.available),
            reader.room.eq(layer_norm.i.ready), layer_norm.i.valid.eq(reader.o.valid),
            layer_norm.i.payload.eq(reader.o.payload),
            settings.dim.eq(linear.dim), settings.rms.eq(linear.rms),
            settings.epsilon.eq(linear.epsilon), settings.gain_shift.eq(linear.gain_shift),
            settings.param_base.eq(linear.norm_base),
            layer_norm.o.ready.eq(1), self.counts.norm_words.eq(layer_norm.o.valid),
            write.en.eq(layer_norm.o.valid), write.addr.eq(address),
        ]
        m.d.comb += [write.data[n].eq(layer_norm.o.p.data[n]) for n in range(hw.word)]
        with m.If(self.operator.start):
            m.d.sync += [address.eq(0), self.rows.eq(0)]
        with m.Elif(layer_norm.o.valid):
            m.d.sync += [address.eq(address + 1), self.rows.eq(self.rows + layer_norm.o.p.last)]

        return m
