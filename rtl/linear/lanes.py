"""Half a lane group: its share of the weights, and the multipliers that they feed.

::

    event ──►│ row ──► weights │ keys and values ──►│──► pairs ──► sums, flush
"""

from itertools import pairwise

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import event, run
from deltamoe.rtl.interfaces import Write, attach
from deltamoe.rtl.linear.mac_pair import MacPair
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Record


class Lanes(wiring.Component):
    """Multiply a word of weights by an event, sum over runs of events.

    Members
    -------
    i : ``In(stream.Signature(event(hw), always_ready=True))``
        The event of this cycle.
    weights, kv : ``In(Write(…))``
        A word of weights, of keys and values.
    o : ``Out(stream.Signature(run(hw), always_ready=True))``
        The run that ends.

    Timing
    ------
    A run whose last event came in cycle ``t`` ends in cycle ``t + LATENCY``.
    """

    record = Record(twin="arithmetic.linear")

    i: stream.Interface
    o: stream.Interface

    LATENCY = 2 + MacPair.LATENCY

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        word = data.ArrayLayout(signed(8), hw.word)
        super().__init__({
            "i": In(stream.Signature(event(hw), always_ready=True)),
            "weights": In(Write(hw.weight_rows, word)), "kv": In(Write(hw.kv_rows, word)),
            "o": Out(stream.Signature(run(hw), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        stages = [Signal(event(hw), name=f"event_{n}", reset_less=True)
                  for n in range(self.LATENCY)]
        valid = Signal(self.LATENCY)
        m.d.sync += [stages[0].eq(self.i.payload), valid.eq((valid << 1) | self.i.valid)]
        m.d.sync += [later.eq(earlier) for earlier, later in pairwise(stages)]
        row, fetched, _, product, summed = stages

        words = []
        for name, user, depth in (("weights", self.weights, hw.weight_rows),
                                  ("kv", self.kv, hw.kv_rows)):
            m.submodules[name] = memory = BlockMemory(8 * hw.word, depth)
            attach(m, user, memory.write_port())
            read = memory.read_port()
            m.d.comb += read.addr.eq(row.row)
            words.append(read.data)
        chosen = Signal(data.ArrayLayout(signed(8), hw.word))
        m.d.comb += [chosen.eq(Mux(fetched.kv, words[1], words[0])),
                     self.o.p.event.eq(summed), self.o.valid.eq(valid[-1] & summed.flush)]
        for n in range(0, hw.word, 2):
            m.submodules[f"pair_{n // 2}"] = pair = MacPair(packed=hw.packed)
            m.d.comb += [
                pair.w0.eq(chosen[n]), pair.w1.eq(chosen[n + 1]), pair.delta.eq(fetched.delta),
                pair.begin.eq(product.begin), pair.valid.eq(valid[3]),
                self.o.p.sums[n].eq(pair.low), self.o.p.sums[n + 1].eq(pair.high),
            ]

        return m
