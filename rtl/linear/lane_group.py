"""Weights, multipliers and accumulators of ``lanes`` output columns.

Every queue has a read port and its own accumulators, two banks of them::

    event ──►│ row ──► weights │ keys and values ──►│── × delta ──►│── + ──► acc[bank]
                                                                       ◄──┘
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.hdl import Assert
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import EVENT


class LaneGroup(wiring.Component):
    """Multiply a row of weights by an event and add it to the accumulators.

    ``acc[queue][bank][n] = (0 if first else acc[queue][bank][n]) + delta * memory[row][n]``, with
    ``memory`` the weights or, if ``kv``, the keys and values. :func:`golden.linear.linear` is its
    reference.

    Members
    -------
    event, valid : ``In(EVENT).array(queues)``, ``In(1).array(queues)``
        At most one event a cycle for each queue; never refused.
    weight_write : ``In``
        ``en``, ``row``, ``data``: one row of weights.
    kv_write : ``In``
        ``en`` (one bit for each half of the row), ``row``, ``data``: half a row.
    queue, bank, half : ``In``
        Word of accumulators to read.
    acc : ``Out``
        That word, one cycle later.

    Timing
    ------
    An event of cycle ``t`` is in the accumulators in cycle ``t + 4``.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        row = data.ArrayLayout(signed(8), hw.lanes)
        half = data.ArrayLayout(signed(8), hw.word)
        super().__init__({
            "event": In(EVENT).array(hw.queues), "valid": In(1).array(hw.queues),
            "weight_write": In(data.StructLayout({"en": 1, "row": 16, "data": row})),
            "kv_write": In(data.StructLayout({"en": 2, "row": 16, "data": half})),
            "queue": In(range(hw.queues)), "bank": In(1), "half": In(1),
            "acc": Out(data.ArrayLayout(signed(hw.acc_width), hw.word)),
        })

    def elaborate(self, platform):
        m = Module()
        row = data.ArrayLayout(signed(8), self.hw.lanes)
        m.submodules.weights = weights = Memory(
            shape=row, depth=self.hw.weight_rows, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.kv = kv = Memory(
            shape=row, depth=self.hw.kv_rows, init=[], attrs={"ram_style": "block"}
        )
        write, kv_write = weights.write_port(), kv.write_port(granularity=self.hw.word)
        m.d.comb += [
            write.en.eq(self.weight_write.en), write.addr.eq(self.weight_write.row),
            write.data.eq(self.weight_write.data),
            kv_write.en.eq(self.kv_write.en), kv_write.addr.eq(self.kv_write.row),
            kv_write.data[: self.hw.word].eq(self.kv_write.data),
            kv_write.data[self.hw.word :].eq(self.kv_write.data),
        ]
        words = []
        for number in range(self.hw.queues):
            lanes = Lanes(self.hw)
            m.submodules[f"lanes_{number}"] = lanes
            reads = weights.read_port(), kv.read_port()
            m.d.comb += [
                lanes.event.eq(self.event[number]), lanes.valid.eq(self.valid[number]),
                reads[0].addr.eq(lanes.row), reads[1].addr.eq(lanes.row),
                lanes.weights.eq(Mux(lanes.kv, reads[1].data.as_value(), reads[0].data.as_value())),
            ]
            words += [(number, bank, half, lanes.acc[bank][half * self.hw.word :][: self.hw.word])
                      for bank in range(2) for half in range(2)]
        for number, bank, half, word in words:
            with m.If((self.queue == number) & (self.bank == bank) & (self.half == half)):
                m.d.sync += [self.acc[n].eq(word[n]) for n in range(self.hw.word)]

        return m


class Lanes(wiring.Component):
    """The multipliers and accumulators that one queue feeds.

    Members
    -------
    event, valid : ``In(EVENT)``, ``In(1)``
        The event of this cycle.
    row, kv : ``Out(16)``, ``Out(1)``
        Weight row to read, one cycle after the event; ``kv`` one cycle after ``row``.
    weights : ``In``
        The row, one cycle after ``row``.
    acc : ``Out``
        Accumulators, by bank.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        acc = data.ArrayLayout(signed(hw.acc_width), hw.lanes)
        super().__init__({
            "event": In(EVENT), "valid": In(1),
            "row": Out(16), "kv": Out(1),
            "weights": In(data.ArrayLayout(signed(8), hw.lanes)),
            "acc": Out(acc).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        fetch, multiply, add = (Signal(EVENT, name=name, reset_less=True)
                                for name in ("fetch", "multiply", "add"))
        valid = Signal(3)

        m.d.sync += [
            fetch.eq(self.event), multiply.eq(fetch), add.eq(multiply),
            valid.eq((valid << 1) | self.valid),
        ]
        m.d.comb += [self.row.eq(fetch.row), self.kv.eq(multiply.kv)]
        overflow = Signal(self.hw.lanes)
        for n in range(self.hw.lanes):
            product = Signal(signed(17), name=f"product_{n}", reset_less=True)
            banks = [Signal(signed(self.hw.acc_width), name=f"acc_{bank}_{n}", reset_less=True)
                     for bank in range(2)]
            total = Signal(signed(self.hw.acc_width + 1), name=f"total_{n}")
            m.d.sync += product.eq(multiply.delta * self.weights[n])
            m.d.comb += [
                total.eq(Mux(add.first, 0, Mux(add.bank, banks[1], banks[0])) + product),
                overflow[n].eq(total[-1] ^ total[-2]),
            ]
            for number, acc in enumerate(banks):
                m.d.comb += self.acc[number][n].eq(acc)
                m.d.sync += acc.eq(Mux(valid[2] & (add.bank == number), total, acc))
        m.d.sync += Assert(~valid[2] | ~overflow.any(), "accumulator overflow")

        return m
