"""Beats from memory to the on-chip memory that a load names.

::

    beat ──┬──► row of weights            (one beat)
           ├──► word of parameters        (four beats)
           ├──► part of a descriptor      (one beat)
           ├──► word of kept sums         (two beats)
           ├──► two words of references   (two cycles)
           ├──► word of residual, two words of image
           └──► entries of the table      (one byte a cycle)
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.descriptor import Target
from deltamoe.rtl.formats import TRANSFER
from deltamoe.rtl.interfaces import Loads, Write
from deltamoe.rtl.record import Area, Record


class Loader(wiring.Component):
    """Place the beats of one load.

    Weights come tile by tile, ``tile_rows`` rows each. With ``n`` groups in a span, tile ``c`` goes
    to row ``base + c // n * tile_rows`` of every group ``g`` with ``g % n == c % n``.

    Members
    -------
    transfer : ``In(stream.Signature(TRANSFER))``
        Loads in order, taken with the last beat; a skipped one takes one cycle.
    i : ``In(stream.Signature({data, last}))``
        Beats; ``last`` ends the load.
    loads : ``Out(Loads(hw))``
        Write ports of the memories.
    code : ``Out(Write(Walker.rows(hw), 8 * hw.lanes))``
        Write port of the program memory.

    Timing
    ------
    One beat a cycle; a beat of table entries takes ``lanes`` cycles, one of references two in which
    their memory is free. A word's second beat of sums waits for theirs. Sums, references,
    parameters and descriptors are written as they arrive; weights, table, residual and image from
    registers, a cycle later, and the first operator that waits for a load reads its memory at the
    earliest three cycles after the load has ended.
    """

    record = Record(moves="finds the place of loaded beats", area=Area(grows=lambda hw: (hw.word,)),
                    combinational={
        "code.address": ("transfer.payload",),
        "code.data": ("i.payload",),
        "code.en": (
            "i.valid", "loads.kept.reference.free", "loads.kept.state.free", "transfer.payload",
            "transfer.valid"),
        "i.ready": (
            "loads.kept.reference.free", "loads.kept.state.free", "transfer.payload",
            "transfer.valid"),
        "loads.kept.reference.address": ("transfer.payload",),
        "loads.kept.reference.data": ("i.payload",),
        "loads.kept.reference.en": (
            "i.valid", "loads.kept.reference.free", "transfer.payload", "transfer.valid"),
        "loads.kept.state.address": ("transfer.payload",),
        "loads.kept.state.data": ("i.payload",),
        "loads.kept.state.en": (
            "i.valid", "loads.kept.reference.free", "loads.kept.state.free", "transfer.payload",
            "transfer.valid"),
        "loads.norm.address": ("transfer.payload",),
        "loads.norm.data": ("i.payload",),
        "loads.norm.en": (
            "i.valid", "loads.kept.reference.free", "loads.kept.state.free", "transfer.payload",
            "transfer.valid"),
        "loads.parameter.address": ("transfer.payload",),
        "loads.parameter.data": ("i.payload",),
        "loads.parameter.en": (
            "i.valid", "loads.kept.reference.free", "loads.kept.state.free", "transfer.payload",
            "transfer.valid"),
        "transfer.ready": (
            "i.payload", "i.valid", "loads.kept.reference.free", "loads.kept.state.free",
            "transfer.payload", "transfer.valid"),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "transfer": In(stream.Signature(TRANSFER)),
            "i": In(stream.Signature(data.StructLayout({"data": 8 * hw.lanes, "last": 1}))),
            "loads": Out(Loads(hw)), "code": Out(Write(Walker.rows(hw), 8 * hw.lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        load, beat, loads = self.load, self.i.p.data, self.loads
        count, taken = Signal(24), Signal()
        expects, skipped, room = Signal(), Signal(), Signal(init=1)

        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            skipped.eq(self.transfer.valid & self.transfer.p.skip),
            expects.eq(self.transfer.valid & ~self.transfer.p.skip),
            self.transfer.ready.eq((taken & self.i.p.last) | skipped),
        ]
        m.d.sync += [
            loads.residual.en.eq(taken & self.into(Target.RESIDUAL)),
            loads.residual.address.eq(load.base + count), loads.residual.data.eq(beat),
            loads.image.en.eq(taken & self.into(Target.IMAGE)),
            loads.image.address.eq((load.base >> 1) + count), loads.image.data.eq(beat),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(self.i.p.last, 0, count + 1))
        self.place_table(m, count, expects, room)
        m.d.comb += self.i.ready.eq(expects & room)
        self.place_weights(m, taken)
        whole = self.place_words(m, count, taken)
        if self.hw.temporal:
            self.place_kept(m, count, whole, expects, room)
        m.d.comb += [
            self.code.en.eq(taken & (self.program | self.into(Target.PROGRAM))),
            self.code.address.eq(Mux(self.program, 0, load.base * Walker.parts(self.hw))
                                 + count), self.code.data.eq(beat),
        ]

        return m

    @property
    def load(self):
        """Descriptor of the load."""
        return self.transfer.p.descriptor.load

    @property
    def program(self):
        """Whether the load is of the program, and no descriptor's."""
        return self.transfer.p.program

    def into(self, target: Target):
        """Whether the load is into this memory."""
        return self.transfer.p.into[target]

    def place_table(self, m: Module, count, expects, room):
        """Hand out the bytes of a beat one by one; at the last, there is ``room`` for the next."""
        lanes, table = self.hw.lanes, self.loads.table
        position, writes, ends = Signal(range(lanes)), Signal(), Signal()
        m.d.comb += writes.eq(self.into(Target.TABLE) & self.i.valid & expects)
        m.d.sync += [
            table.en.eq(writes),
            table.address.eq(Cat(position, count[: 10 - len(position)], self.load.bank)),
            table.data.eq(self.i.p.data.word_select(position, 8)),
        ]
        with m.If(self.into(Target.TABLE)):
            m.d.comb += room.eq(ends)
        with m.If(writes):
            m.d.sync += [position.eq(position + 1), ends.eq(position == lanes - 2)]

    def place_weights(self, m: Module, taken):
        """Walk rows, the groups of a span, and passes."""
        hw, load, weight = self.hw, self.load, self.loads.weight
        row, base = Signal(range(hw.weight_rows)), Signal(range(hw.weight_rows))
        member = Signal(range(hw.groups))
        last_row, last_member = Signal(), Signal()
        m.d.comb += last_row.eq(row + 1 == load.tile_rows)
        m.d.sync += [
            weight.en.eq(taken & self.into(Target.WEIGHTS)),
            weight.address.eq(load.base + base + row), weight.data.eq(self.i.p.data),
        ]
        with m.Switch(load.span):
            for index, span in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += last_member.eq(member == span - 1)
                    m.d.sync += [weight.groups[n].eq(member == n % span)
                                 for n in range(hw.groups)]
        with m.If(taken & self.i.p.last):
            m.d.sync += [row.eq(0), base.eq(0), member.eq(0)]
        with m.Elif(taken):
            m.d.sync += row.eq(Mux(last_row, 0, row + 1))
            with m.If(last_row):
                m.d.sync += [member.eq(Mux(last_member, 0, member + 1)),
                             base.eq(Mux(last_member, base + load.tile_rows, base))]

    def place_words(self, m: Module, count, taken):
        """Gather the beats of a parameter word."""
        hw, load, loads = self.hw, self.load, self.loads
        held, address = Signal(24 * hw.lanes), Signal.like(load.base)
        whole = Cat(held, self.i.p.data)
        with m.If(taken):
            m.d.sync += held.eq(whole[8 * hw.lanes :])
            with m.If(count % 4 == 3):
                m.d.comb += [loads.parameter.en.eq(self.into(Target.PARAMETERS)),
                             loads.norm.en.eq(self.into(Target.NORM))]
        m.d.comb += address.eq(load.base + count // 4)
        for port in (loads.parameter, loads.norm):
            m.d.comb += [port.address.eq(address), port.data.eq(whole)]
        return whole

    def place_kept(self, m: Module, count, whole, expects, room):
        """Sums two beats at a time, references one half of a beat after the other."""
        load, second, kept = self.load, Signal(), self.loads.kept
        state, reference = kept.state, kept.reference
        m.d.comb += [
            state.address.eq(load.base + count // 2),
            state.data.eq(whole[16 * self.hw.lanes :]),
            reference.address.eq(load.base + Cat(second, count)),
            reference.data.eq(self.i.p.data.word_select(second, 4 * self.hw.lanes)),
        ]
        with m.If(expects & self.into(Target.STATE)):
            m.d.comb += [room.eq(~count[0] | state.free),
                         state.en.eq(self.i.valid & self.i.ready & count[0])]
        with m.If(expects & self.into(Target.REFERENCE)):
            m.d.comb += [room.eq(second & reference.free),
                         reference.en.eq(self.i.valid & reference.free)]
        m.d.sync += second.eq(second ^ reference.en)
