"""The memories that ``STORE`` reads, behind one port."""

from itertools import pairwise

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.descriptor import Target
from deltamoe.rtl.interfaces import StoreRead, YieldingRead, bytes_of, residual_of, sums_of
from deltamoe.rtl.record import Area, Record


class StorePorts(wiring.Component):
    """Choose the granted port and the beat.

    What is kept comes from a register, since the residual stream does: there, the second of two
    words of references joins the first.

    Members
    -------
    store : ``In(StoreRead(hw))``
        Beats.
    rows : ``In(YieldingRead(hw.residual_words, residual_of(hw)))``
        Whoever else reads the residual stream, while no ``STORE`` does.
    residual : ``Out(YieldingRead(hw.residual_words, residual_of(hw)))``
        The residual stream, whose data come ``Residual.READ`` cycles after their address.
    sums, references : ``Out(YieldingRead(…))``
        What is kept, if anything is; their data come in the next cycle.

    Timing
    ------
    Addresses pass in the same cycle, grants of the store in the next. A beat comes
    ``Residual.READ`` cycles after its address, from every memory. A word of references is the lower
    half of its beat if ``half`` was 0, and stays there until that is so again.
    """

    record = Record(moves="chooses among ports", area=Area(grows=lambda hw: (hw.word,)),
                    combinational={
        "references.address": ("store.address",),
        "residual.address": ("rows.address", "store.address", "store.running", "store.target"),
        "rows.data": ("residual.data",),
        "rows.granted": ("residual.granted",),
        "store.data": ("residual.data",),
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
        m, store, residual, size = Module(), self.store, self.residual, 8 * self.hw.bus_bytes
        wide, half = Signal(data.ArrayLayout(signed(32), self.hw.word)), Signal()
        words = [Signal(size, name=f"word_{n}") for n in range(Residual.READ - 1)]
        other = Signal(len(words))
        is_residual, is_sums, is_reference = (store.target == target for target in (
            Target.RESIDUAL, Target.STATE, Target.REFERENCE))

        m.d.sync += [
            half.eq(store.half), other.eq((other << 1) | ~is_residual),
            *(later.eq(word) for word, later in pairwise(words)),
            store.granted.eq(Mux(is_sums, self.sums.granted, Mux(
                is_reference, self.references.granted, residual.granted))),
        ]
        m.d.comb += [wide[n].eq(self.sums.data[n]) for n in range(self.hw.word)]
        m.d.comb += [
            residual.address.eq(Mux(store.running & is_residual, store.address,
                                    self.rows.address)),
            self.rows.granted.eq(residual.granted), self.rows.data.eq(residual.data),
            self.sums.address.eq(store.address), self.references.address.eq(store.address),
            store.data.eq(Mux(other[-1], words[-1], Value.cast(residual.data))),
        ]
        with m.If(is_sums):
            m.d.sync += words[0].eq(Value.cast(wide).word_select(half, size))
        with m.Else():
            m.d.sync += words[0][size // 2 :].eq(Value.cast(self.references.data))
            with m.If(~half):
                m.d.sync += words[0][: size // 2].eq(Value.cast(self.references.data))

        return m
