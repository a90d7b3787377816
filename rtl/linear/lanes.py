"""Half a lane group: its share of the weights, and the multipliers that they feed.

::

    event ──►│ row ──► weights │ keys and values ──►│──► pairs ──► sums, flush
"""

from itertools import pairwise

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import event
from deltamoe.rtl.linear.mac_pair import MacPair
from deltamoe.rtl.record import Record


class Lanes(wiring.Component):
    """Multiply a word of weights by an event, sum over runs of events.

    Members
    -------
    event, valid : ``In(event(hw))``, ``In(1)``
        The event of this cycle.
    weight_write, kv_write : ``In``
        ``en``, ``row``, ``data``: a word of weights, of keys and values.
    sums : ``Out``
        Sums of the run that ends.
    flushed, done : ``Out(event(hw))``, ``Out(1)``
        The run's last event, and whether one ends in this cycle.

    Timing
    ------
    A run whose last event came in cycle ``t`` ends in cycle ``t + LATENCY``.
    """

    record = Record(twin="arithmetic.linear")

    LATENCY = 2 + MacPair.LATENCY

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        word = data.ArrayLayout(signed(8), hw.word)
        weight_write, kv_write = (data.StructLayout({"en": 1, "row": range(rows), "data": word})
                                  for rows in (hw.weight_rows, hw.kv_rows))
        super().__init__({
            "event": In(event(hw)), "valid": In(1),
            "weight_write": In(weight_write), "kv_write": In(kv_write),
            "sums": Out(data.ArrayLayout(signed(20), hw.word)),
            "flushed": Out(event(hw)), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        stages = [Signal(event(hw), name=f"event_{n}", reset_less=True)
                  for n in range(self.LATENCY)]
        valid = Signal(self.LATENCY)
        m.d.sync += [stages[0].eq(self.event), valid.eq((valid << 1) | self.valid)]
        m.d.sync += [later.eq(earlier) for earlier, later in pairwise(stages)]
        row, fetched, packed, product, summed = stages

        words = []
        for name, depth, given in (("weights", hw.weight_rows, self.weight_write),
                                   ("kv", hw.kv_rows, self.kv_write)):
            m.submodules[name] = memory = Memory(
                shape=8 * hw.word, depth=depth, init=[], attrs={"ram_style": "block"})
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [write.en.eq(given.en), write.addr.eq(given.row),
                         write.data.eq(given.data), read.addr.eq(row.row)]
            words.append(read.data)
        chosen = Signal(data.ArrayLayout(signed(8), hw.word))
        m.d.comb += [chosen.eq(Mux(fetched.kv, words[1], words[0])),
                     self.flushed.eq(summed), self.done.eq(valid[-1] & summed.flush)]
        for n in range(0, hw.word, 2):
            m.submodules[f"pair_{n // 2}"] = pair = MacPair(packed=hw.packed)
            m.d.comb += [
                pair.w0.eq(chosen[n]), pair.w1.eq(chosen[n + 1]), pair.delta.eq(packed.delta),
                pair.begin.eq(product.begin), pair.valid.eq(valid[3]),
                self.sums[n].eq(pair.low), self.sums[n + 1].eq(pair.high),
            ]

        return m
