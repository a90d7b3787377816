"""Transfers from memory to a stream of beats, several bursts in flight.

::

    command ──► bursts ──┬──► AR        R ──► o
                         └──► in flight ──┘
"""

from amaranth import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import OKAY, AxiRead
from deltamoe.rtl.memory.bursts import Bursts
from deltamoe.rtl.memory.flight import Flight
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe


class DmaReader(cycles.DmaReader, wiring.Component):
    """Read transfers beat by beat, in order.

    Members
    -------
    i : ``In(stream.Signature(COMMAND))``
        Byte address and beats.
    o : ``Out(stream.Signature({data, last}))``
        Beats; ``last`` ends the transfer.
    axi : ``Out(AxiRead(hw.bus_bytes))``
        Memory.
    error : ``Out(1)``
        A beat came in the cycle before with an error, or with ``rlast`` where its burst does not
        end, or without it where it does; the transfer still runs to its end, which is found by
        counting beats.
    bus : ``In(Master())``
        To drain is to offer no burst but one that has been offered already, and to throw all
        beats away. It is idle if no burst is in flight or, meanwhile, offered.

    Timing
    ------
    A command of cycle ``t`` raises ``arvalid`` in ``t + ADDRESS``; bursts follow one a cycle while
    fewer than ``outstanding`` are in flight. ``o`` is the R channel without a register.
    """

    record = Record(moves="reads beats", area=Area(
        instances=lambda hw: int(hw.memory_ports == 1)), combinational={
        "axi.arvalid": ("bus.drain",),
        "axi.rready": ("bus.drain", "o.ready"),
        "bus.progress": ("axi.rvalid", "bus.drain", "o.ready"),
        "i.ready": ("axi.arready", "bus.drain"),
        "o.payload": ("axi.rdata",),
        "o.valid": ("axi.rvalid", "bus.drain"),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * hw.lanes, "last": 1}))),
            "axi": Out(AxiRead(hw.bus_bytes)),
            "error": Out(1), "bus": In(Master()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = Bursts(self.hw)
        m.submodules.flight = flight = Flight(self.hw)

        pipe(m, wiring.flipped(self.i), bursts.i)
        wrong = read_bursts(m, flight, bursts.o, self.axi, self.o, self.bus)
        m.d.sync += self.error.eq(wrong)

        return m


def read_bursts(m: Module, flight: Flight, bursts, axi, o, bus) -> Value:
    """Read a stream of bursts through one AXI port, as :class:`DmaReader` says.

    Parameters
    ----------
    m : Module
        Where the logic goes.
    flight : Flight
        Holds its bursts in flight.
    bursts, o : stream.Interface
        Bursts of :data:`deltamoe.rtl.memory.bursts.BURST`, in beats of the port; their beats.
    axi, bus
        The port; what ends its transfers.

    Returns
    -------
    Value
        A beat is taken, with an error.
    """
    oldest = flight.oldest
    offered, taken = Signal(), Signal()

    m.d.comb += [
        axi.arvalid.eq(bursts.valid & flight.i.ready & (offered | ~bus.drain)),
        axi.araddr.eq(bursts.p.address), axi.arlen.eq(bursts.p.beats - 1),
        axi.arsize.eq((len(axi.rdata) // 8).bit_length() - 1),
        axi.arburst.eq(1), axi.arcache.eq(0b0011),
        bursts.ready.eq(axi.arvalid & axi.arready),
        flight.i.valid.eq(axi.arvalid & axi.arready), flight.i.payload.eq(bursts.payload),
        oldest.taken.eq(taken),
        o.valid.eq(axi.rvalid & oldest.present & ~bus.drain),
        o.p.data.eq(axi.rdata), o.p.last.eq(oldest.ends & oldest.last),
        axi.rready.eq(oldest.present & (o.ready | bus.drain)),
        taken.eq(axi.rvalid & axi.rready), bus.progress.eq(taken),
        bus.idle.eq(~oldest.present & ~offered),
    ]
    m.d.sync += offered.eq(axi.arvalid & ~axi.arready)
    return taken & ((axi.rresp != OKAY) | (axi.rlast != oldest.ends))
