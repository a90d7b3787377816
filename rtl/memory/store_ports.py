"""The memories that ``STORE`` reads, behind one port."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Target
from deltamoe.rtl.interfaces import StoreRead, YieldingRead, bytes_of, residual_of, sums_of
from deltamoe.rtl.record import Area, Record


class StorePorts(wiring.Component):
    """Choose the granted port and the beat: one of four, so that a bit of it takes one LUT.

    Members
    -------
    store : ``In(StoreRead(hw))``
        Beats; a word of references fills both halves of one.
    rows : ``In(YieldingRead(hw.residual_words, residual_of(hw)))``
        Whoever else reads the residual stream, while no ``STORE`` does.
    residual : ``Out(YieldingRead(hw.residual_words, residual_of(hw)))``
        The residual stream.
    sums, references : ``Out(YieldingRead(…))``
        What is kept, if anything is.

    Timing
    ------
    Combinational; ``half`` is delayed by the cycle that a memory takes.
    """

    record = Record(moves="chooses among ports", area=Area(grows=lambda hw: (hw.word,)),
                    combinational={
        "references.address": ("store.address",),
        "residual.address": ("rows.address", "store.address", "store.running", "store.target"),
        "rows.data": ("residual.data",),
        "rows.granted": ("residual.granted",),
        "store.data": ("references.data", "residual.data", "store.target", "sums.data"),
        "store.granted": ("references.granted", "residual.granted", "store.target", "sums.granted"),
        "sums.address": ("store.address",),
    })

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "store": In(StoreRead(hw)),
            "rows": In(YieldingRead(hw.residual_words, residual_of(hw))),
            "residual": Out(YieldingRead(hw.residual_words, residual_of(hw))),
            "sums": Out(YieldingRead(hw.state_words, sums_of(hw))),
            "references": Out(YieldingRead(hw.reference_words, bytes_of(hw))),
        })

    def elaborate(self, platform):
        m, store, residual = Module(), self.store, self.residual
        wide, half, which = Signal(data.ArrayLayout(signed(32), self.hw.word)), Signal(), Signal(2)
        is_residual, is_sums, is_reference = (store.target == target for target in (
            Target.RESIDUAL, Target.STATE, Target.REFERENCE))
        size = 8 * self.hw.bus_bytes

        m.d.sync += half.eq(store.half)
        m.d.comb += [wide[n].eq(self.sums.data[n]) for n in range(self.hw.word)]
        m.d.comb += [
            which.eq(Cat(Mux(is_sums, half, is_reference), is_sums)),
            store.granted.eq(Mux(is_sums, self.sums.granted, Mux(
                is_reference, self.references.granted, residual.granted))),
            residual.address.eq(Mux(store.running & is_residual, store.address,
                                    self.rows.address)),
            self.rows.granted.eq(residual.granted), self.rows.data.eq(residual.data),
            self.sums.address.eq(store.address), self.references.address.eq(store.address),
        ]
        beats = (Value.cast(residual.data), Value.cast(self.references.data).replicate(2),
                 Value.cast(wide)[:size], Value.cast(wide)[size:])
        with m.Switch(which):
            for number, beat in enumerate(beats):
                with m.Case(number):
                    m.d.comb += store.data.eq(beat)

        return m
