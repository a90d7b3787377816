"""A stream of words to memory through several ports, which take turns by address.

::

    command ──► bursts ─┐    ┌──► port 0
                        ├────┼──► port 1
    data ───────────────┘    └──►   …   ──► done
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import AxiWrite
from deltamoe.rtl.memory.bursts import BURST, Bursts
from deltamoe.rtl.memory.interleaved_reader import port_of
from deltamoe.rtl.memory.port_writer import PortWriter, waiting_words
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe


class InterleavedWriter(cycles.InterleavedWriter, wiring.Component):
    """Write transfers word by word, each block through the port that reads it.

    Members
    -------
    i : ``In(stream.Signature(COMMAND))``
        Byte address and words, data beats of all ports; the next when this one is ``done``.
    data : ``In(stream.Signature(8 * hw.bus_bytes))``
        Words.
    axi : ``Out(AxiWrite(hw.port_bytes, qos=True)).array(hw.memory_ports)``
        Memory.
    done, error : ``Out(1)``
        The transfer has been answered by all ports; a response was an error. An error is no later
        than ``done``.
    bus : ``In(Master())``
        As in :class:`deltamoe.rtl.memory.dma_writer.DmaWriter`, for all ports.

    Timing
    ------
    A command of cycle ``t`` takes words from ``t + WORD`` on, one a cycle while the port whose turn
    it is has room. A burst's last word of cycle ``t`` raises ``awvalid`` in ``t + 1``. The transfer
    is ``done`` ``DONE`` cycles after the last response.
    """

    record = Record(
        moves="writes words by turns", area=Area(
            instances=lambda hw: int(hw.memory_ports > 1),
            distributed=lambda hw: (
                Ram(8 * hw.bus_bytes, waiting_words(hw), copies=hw.memory_ports),
                Ram(BURST, waiting_words(hw), copies=hw.memory_ports)),
            grows=lambda hw: (hw.bus_bytes,)),
        combinational={
            "axi.awvalid": ("bus.drain",),
            "bus.progress": ("axi.bvalid", "axi.wready", "data.valid"),
            "i.ready": ("data.valid",),
        })

    i: stream.Interface
    data: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)), "data": In(stream.Signature(8 * hw.bus_bytes)),
            "axi": Out(AxiWrite(hw.port_bytes, qos=True)).array(hw.memory_ports),
            "done": Out(1), "error": Out(1), "bus": In(Master()),
        })

    def elaborate(self, platform):
        m = Module()
        hw, bus, given = self.hw, self.bus, self.data
        m.submodules.bursts = bursts = Bursts(hw)
        burst, count = bursts.o.p, Signal(range(hw.block_words))
        port, ends, taken = Signal(range(hw.memory_ports)), Signal(), Signal()
        running, answered = Signal(), Signal()
        progress, idle, empty, wrong = (Signal(hw.memory_ports) for _ in range(4))

        pipe(m, wiring.flipped(self.i), bursts.i)
        for number, axi in enumerate(self.axi):
            m.submodules[f"port_{number}"] = writer = PortWriter(hw)
            wiring.connect(m, wiring.flipped(axi), writer.axi)
            m.d.comb += [
                writer.i.p.data.eq(given.payload), writer.i.p.burst.eq(burst),
                writer.i.p.ends.eq(ends), writer.bus.drain.eq(bus.drain),
                progress[number].eq(writer.bus.progress), idle[number].eq(writer.bus.idle),
                empty[number].eq(writer.empty), wrong[number].eq(writer.error),
            ]
            with m.If((port == number) & bursts.o.valid):
                m.d.comb += [writer.i.valid.eq(given.valid), given.ready.eq(writer.i.ready)]
        m.d.comb += [
            port.eq(port_of(hw, burst)), ends.eq(count + 1 == burst.beats),
            taken.eq(given.valid & given.ready), bursts.o.ready.eq(taken & ends),
            answered.eq(~bursts.o.valid & empty.all()), self.error.eq(wrong.any()),
            bus.progress.eq(progress.any() | taken), bus.idle.eq(idle.all()),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(ends, 0, count + 1))
        m.d.sync += [running.eq((self.i.valid & self.i.ready) | (running & ~answered)),
                     self.done.eq(running & answered)]

        return m
