"""One of several ports that read memory: bursts to words, which wait until it is their turn.

::

    burst ──┬──► AR        R ──► beats of a word ──► queue ──► o
            └──► in flight ─┘                                  │
     ▲ room ◄────────────────── last word of a burst ──────────┘
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import AxiRead
from deltamoe.rtl.memory.bursts import BURST
from deltamoe.rtl.memory.dma_reader import read_bursts
from deltamoe.rtl.memory.flight import Flight
from deltamoe.rtl.record import Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe


def port_word(hw: HwConfig) -> data.StructLayout:
    """A word, a data beat of all ports, as one port has read it: the last of its burst; wrong."""
    return data.StructLayout({"data": 8 * hw.bus_bytes, "last": 1, "wrong": 1})


class PortReader(wiring.Component):
    """Read bursts through a port that is narrower than a word.

    An address is offered only when there is room for all of its burst, so that every beat is taken
    as it comes: ports that memory serves through one path never wait for each other.

    Members
    -------
    i : ``In(stream.Signature(BURST))``
        Bursts, in words.
    o : ``Out(stream.Signature(port_word(hw)))``
        Their words; ``wrong`` says that a beat of it came with an error, or with ``rlast`` where
        its burst does not end, or without it where it does.
    axi : ``Out(AxiRead(hw.port_bytes, qos=True))``
        Memory.
    bus : ``In(Master())``
        As in :class:`deltamoe.rtl.memory.dma_reader.DmaReader`.

    Timing
    ------
    A burst's address is offered in the cycle in which it comes, if fewer than ``outstanding`` have
    words that have not left; the next may be, in the cycle after the last word of one has left. A
    word is on ``o`` in the cycle after its last beat.
    """

    record = Record(moves="reads beats of a word", combinational={
        "axi.araddr": ("i.payload",),
        "axi.arlen": ("i.payload",),
        "axi.arvalid": ("bus.drain", "i.valid"),
        "axi.rready": ("bus.drain",),
        "bus.progress": ("axi.rvalid", "bus.drain"),
        "i.ready": ("axi.arready", "bus.drain", "i.valid"),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(BURST)), "o": Out(stream.Signature(port_word(hw))),
            "axi": Out(AxiRead(hw.port_bytes, qos=True)), "bus": In(Master()),
        })

    def elaborate(self, platform):
        m = Module()
        hw, size = self.hw, 8 * self.hw.port_bytes
        m.submodules.words = words = Fifo(port_word(hw), hw.outstanding * hw.block_words)
        m.submodules.flight = flight = Flight(hw)
        bursts = stream.Signature(BURST).create(path=("burst",))
        beats = stream.Signature(data.StructLayout({"data": size, "last": 1})).create(
            path=("beat",))
        held, part = Signal((hw.memory_ports - 1) * size), Signal(range(hw.memory_ports))
        wrong, spoiled, whole = Signal(), Signal(), Signal()
        waiting, room = Signal(range(hw.outstanding + 1)), Signal(init=1)
        begins, ends = Signal(), Signal()

        m.d.comb += [
            bursts.valid.eq(self.i.valid & room), self.i.ready.eq(bursts.ready),
            bursts.p.address.eq(self.i.p.address), bursts.p.last.eq(1),
            bursts.p.beats.eq(self.i.p.beats * hw.memory_ports), beats.ready.eq(1),
            wrong.eq(read_bursts(m, flight, bursts, self.axi, beats, self.bus)),
            whole.eq(part == hw.memory_ports - 1), words.i.valid.eq(beats.valid & whole),
            words.i.p.data.eq(Cat(held, beats.p.data)), words.i.p.last.eq(beats.p.last),
            words.i.p.wrong.eq(spoiled | wrong),
            begins.eq(bursts.valid & bursts.ready),
            ends.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]
        pipe(m, words.o, wiring.flipped(self.o))
        with m.If(beats.valid):
            m.d.sync += [held.eq(Cat(held, beats.p.data)[size:]), part.eq(part + 1),
                         spoiled.eq(~whole & (spoiled | wrong))]
        with m.If(begins & ~ends):
            m.d.sync += [waiting.eq(waiting + 1), room.eq(waiting != hw.outstanding - 1)]
        with m.If(ends & ~begins):
            m.d.sync += [waiting.eq(waiting - 1), room.eq(1)]

        return m
