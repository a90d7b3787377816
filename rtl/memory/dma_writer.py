"""A stream of beats to memory, one burst after another.

::

    command ──► bursts ──► AW      data ──► W      B ──► done
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import OKAY, AxiWrite
from deltamoe.rtl.memory.bursts import Bursts
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe


class DmaWriter(cycles.DmaWriter, wiring.Component):
    """Write transfers beat by beat.

    Members
    -------
    i : ``In(stream.Signature(COMMAND))``
        Byte address and beats.
    data : ``In(stream.Signature(8 * hw.bus_bytes))``
        Beats.
    axi : ``Out(AxiWrite(hw.bus_bytes))``
        Memory.
    done, error : ``Out(1)``
        The transfer's last response; a response was an error. Both are registers: it came in the
        cycle before.
    bus : ``In(Master())``
        To drain is to offer no burst but one that has been offered already; the beats that bursts
        still lack, but for one that has been offered, write nothing (``wstrb`` is 0). ``data`` must
        keep its payload meanwhile.

    Timing
    ------
    A command of cycle ``t`` raises ``awvalid`` in ``t + 1`` and sends a beat in ``t + BEAT`` at the
    earliest; so does a burst's last beat of cycle ``t``, for the next burst. A burst's beats are
    offered from the cycle after its address was first offered on, whether that was taken or not,
    since a memory may wait for both; the next address follows the last beat, without waiting for a
    response. The transfer is ``done`` ``DONE`` cycles after its last response.
    """

    record = Record(moves="writes beats", area=Area(
        instances=lambda hw: int(hw.memory_ports == 1)), combinational={
        "axi.awvalid": ("bus.drain",),
        "axi.wdata": ("data.payload",),
        "axi.wvalid": ("data.valid",),
        "bus.progress": ("axi.bvalid", "axi.wready", "data.valid"),
        "data.ready": ("axi.wready",),
        "i.ready": ("axi.awready", "bus.drain"),
    })

    i: stream.Interface
    data: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)), "data": In(stream.Signature(8 * hw.bus_bytes)),
            "axi": Out(AxiWrite(hw.bus_bytes)), "done": Out(1), "error": Out(1),
            "bus": In(Master()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = Bursts(self.hw)

        pipe(m, wiring.flipped(self.i), bursts.i)
        write_bursts(m, bursts.o, self.data, self.axi, self.bus, self.done, self.error)

        return m


def write_bursts(m: Module, bursts, beats, axi, bus, done: Signal, error: Signal) -> None:
    """Write a stream of bursts through one AXI port, as :class:`DmaWriter` says.

    Parameters
    ----------
    m : Module
        Where the logic goes.
    bursts, beats : stream.Interface
        Bursts of :data:`deltamoe.rtl.memory.bursts.BURST`, in beats of the port; their beats.
    axi, bus
        The port; what ends its transfers.
    done, error : Signal
        Registers: the last response of a transfer came in the cycle before; one that is an error.
    """
    left = Signal(9)
    unanswered = Signal(COMMAND["beats"].shape)
    last = Signal()
    writing = Signal()
    awaited = Signal()
    single = Signal()
    offered, begins, accepted, beat, answered = (Signal() for _ in range(5))
    writes = Signal(init=1)

    m.d.comb += [
        axi.awvalid.eq(offered | begins),
        begins.eq(bursts.valid & ~writing & ~offered & ~bus.drain),
        axi.awaddr.eq(bursts.p.address), axi.awlen.eq(bursts.p.beats - 1),
        axi.awsize.eq(len(axi.wstrb).bit_length() - 1), axi.awburst.eq(1),
        axi.awcache.eq(0b0011), accepted.eq(axi.awvalid & axi.awready),
        bursts.ready.eq(accepted), axi.wvalid.eq((beats.valid | ~writes) & writing),
        axi.wdata.eq(beats.payload), axi.wstrb.eq(writes.replicate(len(axi.wstrb))),
        axi.wlast.eq(left == 1), beat.eq(axi.wvalid & axi.wready),
        beats.ready.eq(axi.wready & writing & writes),
        axi.bready.eq(1), answered.eq(axi.bvalid & awaited),
        bus.progress.eq(beat | answered), bus.idle.eq(~writing & ~awaited),
    ]
    m.d.sync += [
        offered.eq(axi.awvalid & ~axi.awready),
        writing.eq(begins | (writing & ~(beat & axi.wlast))),
        unanswered.eq(unanswered + begins - answered),
        awaited.eq(begins | (awaited & ~(answered & single))),
        single.eq(Mux(begins == answered, single, Mux(begins, ~awaited, unanswered == 2))),
        writes.eq(~bus.drain | (writes & axi.wvalid & ~axi.wready)),
        done.eq(answered & last & ~writing & single),
        error.eq(answered & (axi.bresp != OKAY)),
    ]
    with m.If(begins):
        m.d.sync += [left.eq(bursts.p.beats), last.eq(bursts.p.last)]
    with m.If(beat):
        m.d.sync += left.eq(left - 1)
