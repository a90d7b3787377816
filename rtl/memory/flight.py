"""Read bursts in flight, oldest first, and the beats that the oldest still lacks.

::

    burst ──► memory ──►│ oldest ──► ends, last
         └─────────────►│   │ beats left ──┐
                        │◄──┴──── − 1 ◄───┘
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.memory.bursts import BURST
from deltamoe.rtl.record import Area, Ram, Record

STORED = data.StructLayout({"beats": 9, "single": 1, "last": 1})
"""What is kept of a burst: its beats; whether it is the last of its transfer."""


class Oldest(wiring.Signature):
    """The oldest burst in flight, as what holds it gives it.

    Members
    -------
    present : ``Out(1)``
        A burst is in flight.
    ends, last : ``Out(1)``
        The next beat is the oldest burst's last; that burst is the last of its transfer.
    taken : ``In(1)``
        A beat of the oldest burst came; never without one.
    """

    def __init__(self) -> None:
        super().__init__({"present": Out(1), "ends": Out(1), "last": Out(1), "taken": In(1)})


class Flight(wiring.Component):
    """Hold up to ``hw.outstanding`` bursts and count the beats of the oldest.

    Members
    -------
    i : ``In(stream.Signature(BURST))``
        Bursts whose address memory has taken.
    oldest : ``Out(Oldest())``
        The oldest of them.

    Timing
    ------
    A burst is the oldest in the cycle after it came in, or after the last beat of the one before
    it. All outputs are registers: the oldest burst is copied to one from the memory, or from ``i``
    if the memory holds none.
    """

    record = Record(moves="counts beats", area=Area(
        instances=lambda hw: hw.memory_ports,
        distributed=lambda hw: (Ram(STORED, hw.outstanding),)))

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.depth = hw.outstanding
        super().__init__({"i": In(stream.Signature(BURST)), "oldest": Out(Oldest())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(
            shape=STORED, depth=self.depth, init=[], attrs={"ram_style": "distributed"})
        write, read = words.write_port(), words.read_port(domain="comb")
        under_way = Signal(self.depth)  # as many of the lower bits are set
        left = Signal(9)
        ended, waiting, burst, oldest = Signal(), Signal(), self.i.p, self.oldest

        m.d.comb += [
            self.i.ready.eq(~under_way[-1]), write.en.eq(self.i.valid & self.i.ready),
            write.data.beats.eq(burst.beats), write.data.single.eq(burst.single),
            write.data.last.eq(burst.last),
            ended.eq(oldest.taken & oldest.ends), waiting.eq(under_way[1:2]),
        ]
        with m.If(write.en):
            m.d.sync += write.addr.eq(self.after(write.addr))
        follows = oldest.ends | ~oldest.present
        with m.If(oldest.taken | ~oldest.present):
            m.d.sync += [
                left.eq(Mux(follows, Mux(waiting, read.data.beats, burst.beats), left - 1)),
                oldest.ends.eq(Mux(follows, Mux(waiting, read.data.single, burst.single),
                                   left == 2)),
            ]
        with m.If(ended | ~oldest.present):
            m.d.sync += [oldest.present.eq(waiting | write.en),
                         oldest.last.eq(Mux(waiting, read.data.last, burst.last))]
            with m.If(waiting | write.en):
                m.d.sync += read.addr.eq(self.after(read.addr))
        with m.If(write.en & ~ended):
            m.d.sync += under_way.eq(Cat(1, under_way))
        with m.If(ended & ~write.en):
            m.d.sync += under_way.eq(under_way >> 1)

        return m

    def after(self, address):
        """Return the address that follows in the ring."""
        return Mux(address == self.depth - 1, 0, address + 1)
