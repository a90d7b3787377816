"""The whole: registers, sequencer, memory masters and datapath.

::

    s_axi ──► registers ──► sequencer ──► datapath
                                │  ▲          │
    m_axi ◄── reader ──► loader ┴──┴──────────┤
          ◄── writer ◄────────────────────────┘
"""

from amaranth import ClockDomain, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.counters import COUNTERS
from rtl.datapath import LOADED, Datapath
from rtl.memory.axi import AxiLite, AxiRead, AxiWrite
from rtl.memory.dma_reader import DmaReader
from rtl.memory.dma_writer import DmaWriter
from rtl.memory.loader import Loader
from rtl.memory.registers import Registers
from rtl.program import Opcode
from rtl.sequencer import Sequencer
from rtl.stream.pipe import pipe


class Accelerator(wiring.Component):
    """Run programs from memory.

    Members
    -------
    aclk, aresetn : ``In(1)``
        Clock; synchronous reset, active low.
    m_axi_… : AXI4
        Reads programs, weights and images; writes results.
    s_axi_… : AXI4-Lite
        Registers; see :mod:`rtl.memory.registers`.
    interrupt : ``Out(1)``
        A program has ended.

    Timing
    ------
    The reset command ends the program as an error would, then clears everything but the
    writable registers.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.channels = {
            "m_axi": (Out, AxiRead(hw.bus_bytes), AxiWrite(hw.bus_bytes)),
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
        clear = Signal()
        m.submodules.registers = registers = Registers()
        sequencer, reader, writer = Sequencer(hw), DmaReader(hw), DmaWriter(hw)
        loader, datapath = Loader(hw), Datapath(hw)
        for name, unit in (("sequencer", sequencer), ("reader", reader), ("writer", writer),
                           ("loader", loader), ("datapath", datapath)):
            m.submodules[name] = ResetInserter(clear)(unit)
        resetting = Signal()

        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn),
                     self.interrupt.eq(registers.interrupt),
                     clear.eq(resetting & ~sequencer.busy), sequencer.abort.eq(resetting)]
        m.d.sync += resetting.eq((resetting | registers.reset) & ~clear)
        self.connect_ports(m, reader.axi, writer.axi, registers.axi)
        self.connect_control(m, registers, sequencer)
        self.connect_loads(m, sequencer, reader, loader, datapath)
        self.connect_store(m, sequencer, writer, datapath)
        self.count(m, registers, sequencer, reader, writer, datapath)

        return m

    def connect_ports(self, m, read, write, lite):
        """The flat ports to their channels."""
        for interface, prefix, signature in (
            (read, "m_axi", AxiRead(self.hw.bus_bytes)),
            (write, "m_axi", AxiWrite(self.hw.bus_bytes)),
            (wiring.flipped(lite), "s_axi", AxiLite().flip()),
        ):
            for name, member in signature.members.items():
                inner, port = getattr(interface, name), getattr(self, f"{prefix}_{name}")
                m.d.comb += port.eq(inner) if member.flow is Out else inner.eq(port)

    def connect_control(self, m, registers, sequencer):
        """Registers and sequencer."""
        m.d.comb += [
            sequencer.start.eq(registers.start),
            sequencer.length.eq(registers.program_length),
            sequencer.program_address.eq(registers.program_low | registers.program_high << 32),
            sequencer.memory_base.eq(registers.memory_low | registers.memory_high << 32),
            sequencer.memory_size.eq(registers.memory_size),
            registers.busy.eq(sequencer.busy), registers.finished.eq(sequencer.finished),
            registers.failed.eq(sequencer.failed), registers.error.eq(sequencer.error),
            registers.index.eq(sequencer.index),
        ]

    def connect_loads(self, m, sequencer, reader, loader, datapath):
        """Memory to the on-chip memories."""
        pipe(m, sequencer.load_command, reader.i)
        pipe(m, reader.o, loader.i)
        m.d.comb += [
            loader.descriptor.eq(sequencer.load_descriptor),
            loader.program.eq(sequencer.load_program), loader.start.eq(sequencer.load_started),
            sequencer.load_finished.eq(loader.finished), sequencer.code.eq(loader.code),
            sequencer.bus_error.eq(reader.error),
            datapath.inspected.eq(sequencer.load_inspected),
            sequencer.load_occupied.eq(datapath.occupied),
        ]
        m.d.comb += [getattr(datapath, f"load_{name}").eq(getattr(loader, name))
                     for name in LOADED]

    def connect_store(self, m, sequencer, writer, datapath):
        """Operators, and the residual stream to memory."""
        given = sequencer.compute_descriptor
        is_store = given.opcode == Opcode.STORE
        m.d.comb += [
            datapath.descriptor.eq(given), datapath.start.eq(sequencer.compute_started),
            sequencer.compute_rows.eq(datapath.rows),
            sequencer.compute_finished.eq(Mux(is_store, writer.done, datapath.finished)),
            sequencer.store_error.eq(writer.error),
            writer.i.valid.eq(sequencer.compute_started & is_store),
            writer.i.p.address.eq(sequencer.memory_base + given.address),
            writer.i.p.beats.eq(given.beats),
            writer.data.payload.eq(datapath.stored.p.data), writer.data.valid.eq(
                datapath.stored.valid),
            datapath.stored.ready.eq(writer.data.ready),
        ]

    def count(self, m, registers, sequencer, reader, writer, datapath):
        """Add up the counters while a program runs."""
        beat_in = reader.o.valid & reader.o.ready
        beat_out = writer.axi.wvalid & writer.axi.wready
        steps = {
            "cycles": sequencer.busy, "compute_busy": sequencer.busy & ~sequencer.compute_idle,
            "compute_waits_loads": sequencer.compute_waits,
            "compute_waits_program": sequencer.compute_lacks,
            "load_busy": ~sequencer.load_idle, "load_waits_computes": sequencer.load_waits,
            "load_stalled": ~sequencer.load_idle & ~beat_in,
            "bytes_read": beat_in * self.hw.bus_bytes,
            "bytes_written": beat_out * self.hw.bus_bytes,
            **{name: datapath.counts[name] for name in Datapath.COUNTS},
        }
        for counter, name in zip(registers.counters, COUNTERS, strict=True):
            with m.If(registers.start & ~sequencer.busy):
                m.d.sync += counter.eq(0)
            with m.Elif(sequencer.busy):
                m.d.sync += counter.eq(counter + steps[name])
