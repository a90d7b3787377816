"""The whole: registers, run control, sequencer, memory masters and datapath.

::

    s_axi ──► registers ──► run control ──► sequencer ──► datapath
                                                │  ▲          │
    m_axi ◄── reader ──► loader ────────────────┴──┴──────────┤
          ◄── writer ◄── store reader ◄───────────────────────┘
"""

from amaranth import ClockDomain, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.control.run_control import RunControl
from deltamoe.rtl.control.sequencer import Sequencer
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.memory.axi import AxiLite, AxiRead, AxiWrite
from deltamoe.rtl.memory.dma_reader import DmaReader
from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.rtl.memory.interleaved_reader import InterleavedReader
from deltamoe.rtl.memory.interleaved_writer import InterleavedWriter
from deltamoe.rtl.memory.loader import Loader
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe


def memory_ports(hw: HwConfig) -> list[str]:
    """Return what the names of the ports of each AXI manager begin with."""
    return ["m_axi"] if hw.memory_ports == 1 else [f"m{n}_axi" for n in range(hw.memory_ports)]


class Accelerator(wiring.Component):
    """Run programs from memory.

    Members
    -------
    aclk, aresetn : ``In(1)``
        Clock; synchronous reset, active low.
    m_axi_… : AXI4
        Reads programs, weights and images; writes results. With ``hw.memory_ports`` above 1 there
        are ``m0_axi_…``, ``m1_axi_…`` and so on, which take turns by address.
    s_axi_… : AXI4-Lite
        Registers; see :mod:`deltamoe.rtl.control.register_map`.
    interrupt : ``Out(1)``
        A program has ended.

    Timing
    ------
    No output depends on an input of the same cycle. How programs start and end, and what a reset
    does, is said in :mod:`deltamoe.rtl.control.run_control`.
    """

    record = Record(twin="integer", area=Area())

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        several = hw.memory_ports > 1
        self.channels = {
            **{name: (Out, AxiRead(hw.port_bytes, qos=several),
                      AxiWrite(hw.port_bytes, qos=several)) for name in memory_ports(hw)},
            "s_axi": (In, AxiLite()),
        }
        flat = {"aclk": In(1), "aresetn": In(1), "interrupt": Out(1)}
        for prefix, (direction, *signatures) in self.channels.items():
            for signature in signatures:
                for name, member in signature.members.items():
                    flow = member.flow if direction is Out else member.flow.flip()
                    flat[f"{prefix}_{name}"] = flow(member.shape)
        super().__init__(flat)

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.domains.sync = domain = ClockDomain("sync")
        m.submodules.registers = registers = Registers(hw)
        m.submodules.run_control = run = RunControl(hw)
        several = hw.memory_ports > 1
        sequencer = Sequencer(hw)
        reader = InterleavedReader(hw) if several else DmaReader(hw)
        writer = InterleavedWriter(hw) if several else DmaWriter(hw)
        loader, store, datapath = Loader(hw), StoreReader(hw), Datapath(hw)
        for name, unit in (("sequencer", sequencer), ("reader", reader), ("writer", writer),
                           ("loader", loader), ("store_reader", store), ("datapath", datapath)):
            m.submodules[name] = ResetInserter(run.clear)(unit)

        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn),
                     self.interrupt.eq(registers.interrupt)]
        self.connect_ports(m, reader.axi, writer.axi, registers.axi)
        pipe(m, sequencer.command, reader.i)
        pipe(m, sequencer.transfer, loader.transfer)
        pipe(m, reader.o, loader.i)
        pipe(m, store.command, writer.i)
        pipe(m, store.o, writer.data)
        for one, other in (
                (registers.commands, run.commands), (run.program, sequencer.program),
                (loader.code, sequencer.code), (loader.loads, datapath.loads),
                (sequencer.issue, datapath.issue), (sequencer.draining, datapath.draining),
                (sequencer.deferred, datapath.deferred), (sequencer.queues, datapath.queues),
                (sequencer.stores, store.transfers), (store.read, datapath.store)):
            wiring.connect(m, one, other)
        m.d.comb += [sequencer.bus_error.eq(reader.error), sequencer.store_error.eq(writer.error),
                     store.done.eq(writer.done), store.stop.eq(run.bus.drain)]
        self.connect_masters(m, run.bus, reader.bus, writer.bus, datapath.counts)
        self.count(m, registers, run, sequencer, reader, writer, datapath)

        return m

    def connect_ports(self, m, read, write, lite):
        """The flat ports to their channels."""
        several = self.hw.memory_ports > 1
        memory = [(channels[number] if several else channels, prefix)
                  for number, prefix in enumerate(memory_ports(self.hw))
                  for channels in (read, write)]
        for interface, prefix in (*memory, (lite, "s_axi")):
            for name, member in interface.signature.members.items():
                inner, port = getattr(interface, name), getattr(self, f"{prefix}_{name}")
                m.d.comb += port.eq(inner) if member.flow is Out else inner.eq(port)

    def connect_masters(self, m, bus, reader, writer, counts):
        """Run control and the masters, whose transfers it ends."""
        m.d.comb += [
            reader.drain.eq(bus.drain), writer.drain.eq(bus.drain),
            bus.idle.eq(reader.idle & writer.idle),
        ]
        m.d.sync += bus.progress.eq(reader.progress | writer.progress | counts.worker_busy.any()
                                    | counts.drain_busy)

    def count(self, m, registers, run, sequencer, reader, writer, datapath):
        """Add up the counters while a program runs: each cycle's steps in the next."""
        beat_in = reader.o.valid & reader.o.ready
        beat_out = (writer.axi.wvalid & writer.axi.wready if self.hw.memory_ports == 1
                    else writer.data.valid & writer.data.ready)
        steps = {
            "cycles": 1, "load_stalled": sequencer.transfer.valid & ~beat_in,
            "bytes_read": beat_in * self.hw.bus_bytes,
            "bytes_written": beat_out * self.hw.bus_bytes,
            **{name: getattr(unit.counts, name) for unit in (sequencer, datapath)
               for name in unit.counts.signature.members},
        }
        clears, counts = run.commands.accepted | run.commands.reset, Signal()
        m.d.sync += counts.eq(run.program.running & ~clears)
        for counter, name in zip(registers.counters, COUNTERS, strict=True):
            step = Signal.like(Value.cast(steps[name]), name=f"{name}_step")
            m.d.sync += step.eq(steps[name])
            with m.If(clears):
                m.d.sync += counter.eq(0)
            with m.Elif(counts):
                m.d.sync += counter.eq(counter + step)
