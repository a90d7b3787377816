"""Rows of the residual stream through LayerNorm into the memory of normalized rows."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR, Opcode
from deltamoe.rtl.formats import parameter_write
from deltamoe.rtl.memory.row_reader import RowReader
from deltamoe.rtl.norm.layer_norm import LayerNorm
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe


class Normalization(wiring.Component):
    """Normalize the rows that an operator with ``norm`` needs, ahead of its items.

    Members
    -------
    descriptor, start : ``In(DESCRIPTOR)``, ``In(1)``
        If a ``LINEAR`` with ``norm``: ``rows`` rows of ``dim`` elements from word ``norm_source``
        on; parameters from ``norm_base`` on.
    available : ``In(range(hw.max_tokens + 1))``
        Rows of the residual stream that are final.
    address, granted, residual : ``Out``, ``In``, ``In``
        Read port of the residual stream.
    write : ``In``
        Write port of LayerNorm's parameters.
    read_address, read_data : ``In(range(hw.normed_words))``, ``Out``
        Normalized rows; data follow in the next cycle.
    rows : ``Out(range(hw.max_tokens + 1))``
        Rows complete since ``start``.
    wrote : ``Out(1)``
        A word is being written.

    Timing
    ------
    Row ``r`` is complete ``RowReader.LATENCY + words + LayerNorm.LATENCY + words - 1`` cycles
    after ``start`` for ``r = 0`` and follows LayerNorm's interval after that.
    """

    record = Record(twin="arithmetic.layer_norm", area=Area(
        block=lambda hw: (Ram(8 * hw.word, hw.normed_words),)))

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        word = data.ArrayLayout(signed(16), hw.word)
        super().__init__({
            "descriptor": In(DESCRIPTOR), "start": In(1), "available": In(range(hw.max_tokens + 1)),
            "address": Out(range(hw.residual_words)), "granted": In(1), "residual": In(word),
            "write": In(parameter_write(hw)),
            "read_address": In(range(hw.normed_words)),
            "read_data": Out(data.ArrayLayout(8, hw.word)),
            "rows": Out(range(hw.max_tokens + 1)), "wrote": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        hw, given = self.hw, self.descriptor.linear
        is_linear = self.descriptor.opcode == Opcode.LINEAR
        m.submodules.reader = reader = RowReader(hw)
        m.submodules.layer_norm = layer_norm = LayerNorm(hw)
        m.submodules.normed = normed = Memory(
            shape=data.ArrayLayout(8, hw.word), depth=hw.normed_words, init=[],
            attrs={"ram_style": "block"}
        )
        write, read = normed.write_port(), normed.read_port()
        address = Signal(range(hw.normed_words))

        pipe(m, reader.o, layer_norm.i)
        m.d.comb += [
            reader.start.eq(self.start & is_linear & given.norm), reader.base.eq(given.norm_source),
            reader.rows.eq(given.rows), reader.words.eq(given.dim // hw.word),
            reader.available.eq(self.available),
            self.address.eq(reader.address), reader.granted.eq(self.granted),
            reader.room.eq(layer_norm.i.ready),
            reader.data.eq(self.residual),
            layer_norm.dim.eq(given.dim), layer_norm.epsilon.eq(given.epsilon),
            layer_norm.gain_shift.eq(given.gain_shift),
            layer_norm.param_base.eq(given.norm_base), layer_norm.write.eq(self.write),
            layer_norm.o.ready.eq(1), self.wrote.eq(layer_norm.o.valid),
            write.en.eq(layer_norm.o.valid), write.addr.eq(address),
            read.addr.eq(self.read_address), self.read_data.eq(read.data),
        ]
        m.d.comb += [write.data[n].eq(layer_norm.o.p.data[n]) for n in range(hw.word)]
        with m.If(self.start):
            m.d.sync += [address.eq(0), self.rows.eq(0)]
        with m.Elif(layer_norm.o.valid):
            m.d.sync += [address.eq(address + 1), self.rows.eq(self.rows + layer_norm.o.p.last)]

        return m
