"""Transfers from memory to a stream of words through several ports, which take turns by address.

::

                    ┌──► port 0 ──┐
    command ──► bursts ─► port 1 ─┼──►│ o
                 │  └──►   …    ──┘
                 └──► order ──────┘
"""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import AxiRead
from deltamoe.rtl.memory.bursts import Bursts
from deltamoe.rtl.memory.port_reader import PortReader, port_word
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe


def turn(hw: HwConfig) -> data.StructLayout:
    """Which port has the words that come next, and whether its burst ends the transfer."""
    return data.StructLayout({"port": range(hw.memory_ports), "last": 1})


def port_of(hw: HwConfig, burst):
    """Return the number of the port that reads or writes a burst."""
    low = hw.block_bytes.bit_length() - 1
    return burst.address[low : low + hw.memory_ports.bit_length() - 1]


class InterleavedReader(cycles.InterleavedReader, wiring.Component):
    """Read transfers word by word, in order.

    Memory is cut into blocks of ``hw.block_bytes``, a burst of a port, and block ``n`` is read
    through port ``n % hw.memory_ports``. Its address is that in memory: what memory holds where
    does not depend on the ports.

    Members
    -------
    i : ``In(stream.Signature(COMMAND))``
        Byte address and words, data beats of all ports.
    o : ``Out(stream.Signature({data, last}))``
        Words; ``last`` ends the transfer.
    axi : ``Out(AxiRead(hw.port_bytes, qos=True)).array(hw.memory_ports)``
        Memory.
    error : ``Out(1)``
        A word was taken from ``o`` in the cycle before of which a beat was wrong, as
        :class:`deltamoe.rtl.memory.port_reader.PortReader` says.
    bus : ``In(Master())``
        As in :class:`deltamoe.rtl.memory.dma_reader.DmaReader`, for all ports.

    Timing
    ------
    A command of cycle ``t`` raises ``arvalid`` in ``t + ADDRESS``; bursts follow one a cycle while
    fewer than ``outstanding`` of their port have words that have not left it. ``o`` is a register,
    which has a word ``WORD`` cycles after its last beat at the earliest.
    """

    record = Record(
        moves="reads words by turns", area=Area(
            instances=lambda hw: int(hw.memory_ports > 1),
            distributed=lambda hw: (
                Ram(turn(hw), hw.memory_ports * hw.outstanding),
                Ram(port_word(hw), hw.outstanding * hw.block_words, copies=hw.memory_ports)),
            grows=lambda hw: (hw.bus_bytes,)),
        combinational={
            "axi.arvalid": ("bus.drain",),
            "axi.rready": ("bus.drain",),
            "bus.progress": ("axi.rvalid", "bus.drain", "o.ready"),
            "i.ready": ("axi.arready", "bus.drain"),
            "o.valid": ("bus.drain",),
        })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * hw.bus_bytes, "last": 1}))),
            "axi": Out(AxiRead(hw.port_bytes, qos=True)).array(hw.memory_ports),
            "error": Out(1), "bus": In(Master()),
        })

    def elaborate(self, platform):
        m = Module()
        hw, bus = self.hw, self.bus
        m.submodules.bursts = bursts = Bursts(hw)
        offered = bursts.o
        m.submodules.order = order = Fifo(turn(hw), hw.memory_ports * hw.outstanding)
        word = stream.Signature(port_word(hw)).create(path=("word",))
        port, held, wrong, taken = Signal(range(hw.memory_ports)), Signal(), Signal(), Signal()
        progress, idle = Signal(hw.memory_ports), Signal(hw.memory_ports)

        pipe(m, wiring.flipped(self.i), bursts.i)
        for number, axi in enumerate(self.axi):
            m.submodules[f"port_{number}"] = reader = PortReader(hw)
            wiring.connect(m, wiring.flipped(axi), reader.axi)
            m.d.comb += [
                reader.i.payload.eq(offered.payload), reader.bus.drain.eq(bus.drain),
                progress[number].eq(reader.bus.progress), idle[number].eq(reader.bus.idle),
            ]
            with m.If(port == number):
                m.d.comb += [reader.i.valid.eq(offered.valid), offered.ready.eq(reader.i.ready)]
            with m.If(order.o.p.port == number):
                m.d.comb += [word.valid.eq(reader.o.valid), word.payload.eq(reader.o.payload),
                             reader.o.ready.eq(word.ready)]
        # Every burst of the order has words in a port, so that its queue has room for all.
        m.d.comb += [
            port.eq(port_of(hw, offered.p)), order.i.p.port.eq(port),
            order.i.p.last.eq(offered.p.last), order.i.valid.eq(offered.valid & offered.ready),
            word.ready.eq(order.o.valid & (~held | self.o.ready)),
            order.o.ready.eq(word.valid & word.ready & word.p.last),
            self.o.valid.eq(held & ~bus.drain), taken.eq(self.o.valid & self.o.ready),
            bus.progress.eq(progress.any() | taken), bus.idle.eq(idle.all()),
        ]
        m.d.sync += self.error.eq(taken & wrong)
        with m.If(word.ready):
            m.d.sync += [self.o.p.data.eq(word.p.data), wrong.eq(word.p.wrong),
                         self.o.p.last.eq(word.p.last & order.o.p.last)]
        with m.If(~held | self.o.ready):
            m.d.sync += held.eq(word.valid & word.ready)

        return m
