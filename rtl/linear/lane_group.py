"""Weights, multipliers and accumulators of ``lanes`` output columns.

The upper half works one cycle behind the lower, so both share their adders::

    event ──┬────► lower lanes ──┐
            └──►│► upper lanes ──┴──► + ──► accumulators ──► acc
                                      ▲──────────┘
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Assert
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, flipped

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import event
from deltamoe.rtl.interfaces import Lookup, attach, kv_write, sums_of, weight_write
from deltamoe.rtl.linear.lanes import Lanes
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe


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
    i : ``In(stream.Signature(event(hw), always_ready=True))``
        At most one event a cycle.
    weights, kv : ``In(weight_write(hw))``, ``In(kv_write(hw))``
        A row of weights; half a row of keys or values.
    sums : ``In(Lookup(2 * hw.banks, sums_of(hw)))``
        The complement of a word of accumulators; the lowest bit of its address is the half.

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
        grows=lambda hw: (hw.word * hw.packed, hw.word * (not hw.packed))), combinational={
        "sums.data": ("sums.address",),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(event(hw), always_ready=True)),
            "weights": In(weight_write(hw)), "kv": In(kv_write(hw)),
            "sums": In(Lookup(2 * hw.banks, sums_of(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        assert Worker.LATENCY == 1 + Lanes.LATENCY + 2
        halves = [Lanes(hw) for _ in range(2)]
        for number, lanes in enumerate(halves):
            m.submodules[f"lanes_{number}"] = lanes
            bits = self.weights.data.as_value().word_select(number, 8 * hw.word)
            m.d.comb += [
                lanes.weights.en.eq(self.weights.en),
                lanes.weights.address.eq(self.weights.address), lanes.weights.data.eq(bits),
                lanes.kv.en.eq(self.kv.en[number]), lanes.kv.address.eq(self.kv.address),
                lanes.kv.data.eq(self.kv.data),
            ]
        pipe(m, flipped(self.i), halves[0].i)
        m.d.sync += [halves[1].i.payload.eq(self.i.payload), halves[1].i.valid.eq(self.i.valid)]
        self.accumulate(m, *(lanes.o for lanes in halves))

        return m

    def accumulate(self, m: Module, lower: stream.Interface, upper: stream.Interface):
        """Add the runs that end, of one half at a time."""
        hw = self.hw
        m.submodules.sums = sums = Memory(
            shape=sums_of(hw), depth=2 * hw.banks, init=[], attrs={"ram_style": "distributed"})
        write, own = sums.write_port(), sums.read_port(domain="comb")
        attach(m, self.sums, sums.read_port(domain="comb"))
        ended, held = Signal(event(hw)), Signal(write.addr.shape(), reset_less=True)
        overflow, adds = Signal(hw.word), Signal()
        m.d.comb += [
            ended.eq(Mux(upper.valid, upper.p.event, lower.p.event)),
            own.addr.eq(Cat(upper.valid, ended.bank)), write.addr.eq(held), write.en.eq(adds),
        ]
        m.d.sync += [held.eq(own.addr), adds.eq(upper.valid | lower.valid)]
        for n in range(hw.word):
            kept = Signal(signed(hw.acc_width), name=f"kept_{n}", init=-1, reset_less=True)
            runs = [Signal(signed(20), name=f"run_{half}_{n}", reset_less=True)
                    for half in range(2)]
            m.d.sync += [kept.eq(own.data[n]), runs[0].eq(lower.p.sums[n]),
                         runs[1].eq(upper.p.sums[n])]
            for absent, part, value in ((ended.fresh, kept, -1), (~lower.valid, runs[0], 0),
                                        (~upper.valid, runs[1], 0)):
                with m.If(absent):
                    m.d.sync += part.eq(value)
            total = Signal(signed(hw.acc_width + 1), name=f"total_{n}")
            m.d.comb += [total.eq(kept - (runs[0] | runs[1])), write.data[n].eq(total),
                         overflow[n].eq(total[-1] ^ total[-2])]
        m.d.sync += [
            Assert(~write.en | ~overflow.any(), "accumulator overflow"),
            Assert(~(upper.valid & lower.valid), "runs end too close to each other"),
        ]
