"""One element of the event encoder with its reference and its accumulator, and what must hold.

::

    anything ──► EventEncoder ──► acc += W * delta
                  ▲       │
     reference ───┘◄──────┘ write

``acc = sum_b c_b acc_b`` with the worth ``c_b`` of bit ``b`` of a signed weight: ``acc_b`` adds up
the events if the weight has the bit. Each is proven to be the reference or 0, so ``acc`` is
``W * reference``; solvers take minutes to find that out of products.

The element is lane ``lane`` of the words at one address. Those words come whenever the solver
likes, between others, with operands, thresholds and gaps that it likes, but not while the one
before is still to become the reference. A row's accumulator adds up those of its elements, each
with its own weight.

Two fields that the encoder only hands on say whose a word is: ``kv``, that its events are for this
accumulator, which is so in the pass over the columns that moves the reference; ``gang``, that it
is a first frame's, sent whole, and the accumulator starts anew.
"""

from amaranth import Cat, Module, Mux, ResetSignal, Signal, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import operands
from deltamoe.rtl.linear.event_encoder import EventEncoder

WEIGHT = 8
"""Bits of a weight. The highest is worth ``-2**7``."""


class Element(wiring.Component):
    """Assert of a lane ``acc_b == (W has bit b) * reference``, ``|x - reference| <= theta``.

    ``acc_b`` includes the word in flight. ``x`` and ``theta`` are those of the last word that was
    taken. ``make`` is the encoder, or a wrong one.
    """

    def __init__(self, hw: HwConfig, lane: int, make: type[EventEncoder] = EventEncoder) -> None:
        self.hw, self.lane, self.make = hw, lane, make
        super().__init__({
            "given": In(operands(hw)), "valid": In(1),
            "weight": In(WEIGHT), "is_signed": In(1), "address": In(16),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.make(self.hw)
        m.d.comb += [dut.i.p.eq(self.given), dut.i.valid.eq(self.valid), Assume(~ResetSignal())]
        code = Signal(8)
        reference = Mux(self.is_signed, code.as_signed(), code)
        mine = self.given.updates & (self.given.reference_address == self.address)
        with m.If(dut.write.en & (dut.write.address == self.address)):
            m.d.sync += code.eq(dut.write.data[self.lane])
        self.assume(m, mine, reference)
        self.accumulate(m, dut, reference)
        self.bound(m, mine & self.valid, reference)
        return m

    def assume(self, m: Module, mine, reference) -> None:
        """Words as the operand source makes them for an operator with the policy delta."""
        operands, fresh = self.given, self.given.gang[0]
        constant = Cat(self.weight, self.is_signed, self.address)
        past, begun = Signal(len(constant)), Signal()
        m.d.sync += [past.eq(constant), begun.eq(1)]
        operand = operands.operand[self.lane][:8]
        m.d.comb += [
            Assume(~begun | (constant == past)),
            Assume((operands.count > 0) & (operands.count <= self.hw.word)),
            Assume(~operands.probe),
            Assume(operands.dense == fresh), Assume(operands.kv == mine),
            Assume(~mine | (operands.complement[self.lane] == ~Mux(fresh, 0, reference))),
            Assume(operands.operand[self.lane]
                   == Mux(self.is_signed, operand.as_signed(), operand)),
        ]

    def accumulate(self, m: Module, dut: EventEncoder, reference) -> None:
        """The accumulator stands for the reference, bit by bit of the weight."""
        word, fresh = dut.o.p.word, Signal()
        m.d.sync += fresh.eq(dut.next_place.gang[0])
        arrives = dut.o.valid & word.kv
        for bit in range(WEIGHT):
            part, after = (Signal(signed(10), name=f"{name}_{bit}") for name in ("part", "after"))
            moved = Mux(word.mask[self.lane] & self.weight[bit], word.delta[self.lane], 0)
            m.d.comb += [after.eq(Mux(arrives, Mux(fresh, 0, part) + moved, part)),
                         Assert(after == Mux(self.weight[bit], reference, 0))]
            m.d.sync += part.eq(after)

    def bound(self, m: Module, taken, reference) -> None:
        """What was taken last is within its threshold of the reference."""
        operands = self.given
        bounded = data.StructLayout({"x": signed(9), "theta": 8, "judged": 1})
        came, last, was_taken = Signal(bounded), Signal(bounded), Signal()
        m.d.sync += [
            was_taken.eq(taken), came.x.eq(operands.operand[self.lane]),
            came.theta.eq(Mux(operands.dense, 0, operands.theta)),
            came.judged.eq((self.lane < operands.count) & (operands.dense | ~operands.silent))]
        with m.If(was_taken):
            m.d.sync += last.eq(came)
        m.d.comb += Assume(~(taken & was_taken))
        x, theta, judged = last.x, last.theta, last.judged
        error = x - reference
        m.d.comb += Assert(~judged | ((error <= theta) & (-error <= theta)))
