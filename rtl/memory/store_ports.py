"""The memories that ``STORE`` reads, behind one port."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Target
from deltamoe.rtl.record import Area, Record


class StorePorts(wiring.Component):
    """Choose the granted port and the beat: one of four, so that a bit of it takes one LUT.

    Members
    -------
    target, half : ``In(Target)``, ``In(1)``
        Memory that is read; half of a word of sums, in the cycle of its address.
    residual, sums, reference : ``In``
        Words of the memories, in the cycle after their addresses.
    residual_granted, sums_granted, reference_granted : ``In(1)``
        Whether they are read for ``STORE``.
    granted, data : ``Out(1)``, ``Out(8 * hw.bus_bytes)``
        Those of ``target``; a word of references fills both halves of a beat.

    Timing
    ------
    Combinational; ``half`` is delayed by the cycle that a memory takes.
    """

    record = Record(moves="chooses among ports", area=Area(grows=lambda hw: (hw.word,)))

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "target": In(Target), "half": In(1), "granted": Out(1),
            "data": Out(8 * hw.bus_bytes),
            "residual": In(data.ArrayLayout(signed(16), hw.word)),
            "sums": In(data.ArrayLayout(signed(hw.acc_width), hw.word)),
            "reference": In(data.ArrayLayout(8, hw.word)),
            **{f"{name}_granted": In(1) for name in ("residual", "sums", "reference")},
        })

    def elaborate(self, platform):
        m = Module()
        wide, half, which = Signal(data.ArrayLayout(signed(32), self.hw.word)), Signal(), Signal(2)
        is_sums, is_reference = self.target == Target.STATE, self.target == Target.REFERENCE
        size = 8 * self.hw.bus_bytes

        m.d.sync += half.eq(self.half)
        m.d.comb += [wide[n].eq(self.sums[n]) for n in range(self.hw.word)]
        m.d.comb += [
            which.eq(Cat(Mux(is_sums, half, is_reference), is_sums)),
            self.granted.eq(Mux(is_sums, self.sums_granted, Mux(
                is_reference, self.reference_granted, self.residual_granted))),
        ]
        beats = (Value.cast(self.residual), Value.cast(self.reference).replicate(2),
                 Value.cast(wide)[:size], Value.cast(wide)[size:])
        with m.Switch(which):
            for number, beat in enumerate(beats):
                with m.Case(number):
                    m.d.comb += self.data.eq(beat)

        return m
