"""Weights, multipliers and accumulators of ``lanes`` output columns.

The upper half works one cycle behind the lower, so both share their adders::

    event ──┬────► lower lanes ──┐
            └──►│► upper lanes ──┴──► + ──► accumulators ──► acc
                                      ▲──────────┘
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Assert
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import event, kv_write, weight_write
from deltamoe.rtl.linear.lanes import Lanes
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.record import Area, Ram, Record


class LaneGroup(wiring.Component):
    """Multiply a row of weights by an event and add it to the accumulators of a bank.

    ``acc[bank][n] = sum(delta * memory[row][n])`` over an item's events, with ``memory`` the
    weights or, if ``kv``, the keys and values. :func:`deltamoe.golden.arithmetic.linear.linear` is
    its reference. Runs of up to eight events are summed in the multipliers; an adder for every two
    lanes of the halves then adds them to distributed memory, which costs a third of the logic of an
    accumulator register for every lane and bank. What does not take part in an addition is reset
    in the register before, which saves the multiplexers, and the memory keeps complements:
    ``~(a + b) = ~a - b`` names the operand that the carry chain takes without a LUT. Together
    that is 25 LUTs a lane instead of 45.

    Members
    -------
    event, valid : ``In(event(hw))``, ``In(1)``
        At most one event a cycle; never refused.
    weight_write : ``In``
        ``en``, ``row``, ``data``: one row of weights.
    kv_write : ``In``
        ``en`` (one bit for each half of the row), ``row``, ``data``: half a row.
    bank, half : ``In``
        Word of accumulators to read.
    complement : ``Out``
        The complement of that word, in the same cycle.

    Timing
    ------
    The runs that end with events of cycle ``t`` are in the lower half's accumulators in cycle
    ``t + Worker.LATENCY - 1`` and in the upper half's one cycle later. Runs must end at least two
    cycles apart.
    """

    record = Record(twin="arithmetic.linear", area=Area(
        instances=lambda hw: hw.groups,
        multipliers=lambda hw: hw.lanes // (2 if hw.packed else 1),
        block=lambda hw: (Ram(8 * hw.word, hw.weight_rows, 2), Ram(8 * hw.word, hw.kv_rows, 2)),
        distributed=lambda hw: (Ram(hw.word * hw.acc_width, 2 * hw.banks, 2),),
        grows=lambda hw: (hw.word * hw.packed, hw.word * (not hw.packed))))

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "event": In(event(hw)), "valid": In(1),
            "weight_write": In(weight_write(hw)),
            "kv_write": In(kv_write(hw)),
            "bank": In(range(hw.banks)), "half": In(1),
            "complement": Out(data.ArrayLayout(signed(hw.acc_width), hw.word)),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        assert Worker.LATENCY == 1 + Lanes.LATENCY + 2
        halves = [Lanes(hw) for _ in range(2)]
        for number, lanes in enumerate(halves):
            m.submodules[f"lanes_{number}"] = lanes
            bits = self.weight_write.data.as_value().word_select(number, 8 * hw.word)
            m.d.comb += [
                lanes.weight_write.en.eq(self.weight_write.en),
                lanes.weight_write.row.eq(self.weight_write.row), lanes.weight_write.data.eq(bits),
                lanes.kv_write.en.eq(self.kv_write.en[number]),
                lanes.kv_write.row.eq(self.kv_write.row),
                lanes.kv_write.data.eq(self.kv_write.data),
            ]
        m.d.comb += [halves[0].event.eq(self.event), halves[0].valid.eq(self.valid)]
        m.d.sync += [halves[1].event.eq(self.event), halves[1].valid.eq(self.valid)]
        self.accumulate(m, *halves)

        return m

    def accumulate(self, m: Module, lower: Lanes, upper: Lanes):
        """Add the runs that end, of one half at a time."""
        hw = self.hw
        word = data.ArrayLayout(signed(hw.acc_width), hw.word)
        m.submodules.sums = sums = Memory(
            shape=word, depth=2 * hw.banks, init=[], attrs={"ram_style": "distributed"})
        write, own, read = (sums.write_port(), sums.read_port(domain="comb"),
                            sums.read_port(domain="comb"))
        ended, held = Signal(event(hw)), Signal(write.addr.shape(), reset_less=True)
        overflow, adds = Signal(hw.word), Signal()
        m.d.comb += [
            ended.eq(Mux(upper.done, upper.flushed, lower.flushed)),
            own.addr.eq(Cat(upper.done, ended.bank)), read.addr.eq(Cat(self.half, self.bank)),
            write.addr.eq(held), write.en.eq(adds), self.complement.eq(read.data),
        ]
        m.d.sync += [held.eq(own.addr), adds.eq(upper.done | lower.done)]
        for n in range(hw.word):
            kept = Signal(signed(hw.acc_width), name=f"kept_{n}", init=-1, reset_less=True)
            runs = [Signal(signed(20), name=f"run_{half}_{n}", reset_less=True)
                    for half in range(2)]
            m.d.sync += [kept.eq(own.data[n]), runs[0].eq(lower.sums[n]),
                         runs[1].eq(upper.sums[n])]
            for absent, part, value in ((ended.fresh, kept, -1), (~lower.done, runs[0], 0),
                                        (~upper.done, runs[1], 0)):
                with m.If(absent):
                    m.d.sync += part.eq(value)
            total = Signal(signed(hw.acc_width + 1), name=f"total_{n}")
            m.d.comb += [total.eq(kept - (runs[0] | runs[1])), write.data[n].eq(total),
                         overflow[n].eq(total[-1] ^ total[-2])]
        m.d.sync += [
            Assert(~write.en | ~overflow.any(), "accumulator overflow"),
            Assert(~(upper.done & lower.done), "runs end too close to each other"),
        ]
