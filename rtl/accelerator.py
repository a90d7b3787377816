"""The whole: registers, run control, sequencer, memory masters and datapath.

::

    s_axi ──► registers ──► run control ──► sequencer ──► datapath
                                                │  ▲          │
    m_axi ◄── reader ──► loader ────────────────┴──┴──────────┤
          ◄── writer ◄── store reader ◄───────────────────────┘
"""

from amaranth import Cat, ClockDomain, Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.control.run_control import RunControl
from deltamoe.rtl.control.sequencer import Sequencer
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.descriptor import Opcode
from deltamoe.rtl.memory.axi import AxiLite, AxiRead, AxiWrite
from deltamoe.rtl.memory.dma_reader import DmaReader
from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.rtl.memory.loader import Loader
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe


class Accelerator(wiring.Component):
    """Run programs from memory.

    Members
    -------
    aclk, aresetn : ``In(1)``
        Clock; synchronous reset, active low.
    m_axi_… : AXI4
        Reads programs, weights and images; writes results.
    s_axi_… : AXI4-Lite
        Registers; see :mod:`deltamoe.rtl.control.registers`.
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
        m.submodules.registers = registers = Registers()
        m.submodules.run_control = run = RunControl(hw)
        sequencer, reader, writer = Sequencer(hw), DmaReader(hw), DmaWriter(hw)
        loader, store, datapath = Loader(hw), StoreReader(hw), Datapath(hw)
        for name, unit in (("sequencer", sequencer), ("reader", reader), ("writer", writer),
                           ("loader", loader), ("store_reader", store), ("datapath", datapath)):
            m.submodules[name] = ResetInserter(run.clear)(unit)

        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn),
                     self.interrupt.eq(registers.interrupt)]
        self.connect_ports(m, reader.axi, writer.axi, registers.axi)
        self.connect_control(m, registers, run, sequencer)
        self.connect_drain(m, run, reader, writer, store)
        self.connect_loads(m, sequencer, reader, loader, datapath)
        self.connect_operators(m, sequencer, datapath)
        self.connect_store(m, sequencer, store, writer, datapath)
        self.count(m, registers, run, sequencer, reader, writer, datapath)

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

    def connect_control(self, m, registers, run, sequencer):
        """Registers, run control and sequencer."""
        settings = run.settings
        m.d.comb += [
            run.start.eq(registers.start), run.reset.eq(registers.reset),
            settings.program_address.eq(Cat(registers.program_low, registers.program_high)),
            settings.length.eq(registers.program_length),
            settings.memory_base.eq(Cat(registers.memory_low, registers.memory_high)),
            settings.memory_size.eq(registers.memory_size),
            settings.watchdog.eq(registers.watchdog),
            *(getattr(registers, name).eq(getattr(run, name)) for name in (
                "accepted", "finished", "failed", "busy", "draining", "error")),
            *(getattr(sequencer, name).eq(getattr(run.in_force, name)) for name in (
                "program_address", "length", "memory_base", "memory_size")),
            sequencer.begin.eq(run.begin), sequencer.running.eq(run.running),
            run.ended.eq(sequencer.ended), run.problem.eq(sequencer.problem),
            run.position.eq(sequencer.position),
        ]

    def connect_drain(self, m, run, reader, writer, store):
        """Run control and the masters, whose transfers it ends."""
        m.d.comb += [
            reader.drain.eq(run.drain), writer.drain.eq(run.drain), store.stop.eq(run.drain),
            run.drained.eq(reader.idle & writer.idle),
        ]

    def connect_loads(self, m, sequencer, reader, loader, datapath):
        """Memory to the on-chip memories."""
        pipe(m, sequencer.command, reader.i)
        pipe(m, sequencer.transfer, loader.transfer)
        pipe(m, reader.o, loader.i)
        wiring.connect(m, loader.code, sequencer.code)
        wiring.connect(m, loader.loads, datapath.loads)
        wiring.connect(m, sequencer.occupied, datapath.occupied)
        m.d.comb += sequencer.bus_error.eq(reader.error)

    def connect_operators(self, m, sequencer, datapath):
        """Operators from their issue to their end."""
        m.d.comb += [
            datapath.descriptor.eq(sequencer.issue_descriptor),
            datapath.start.eq(sequencer.issue_started), datapath.op.eq(sequencer.issue_op),
            datapath.released.eq(sequencer.issue_released),
            datapath.ready_rows.eq(sequencer.retire_rows),
            sequencer.issue_rows.eq(datapath.rows), sequencer.issue_issued.eq(datapath.issued),
            datapath.draining.eq(sequencer.retire_head.descriptor),
            datapath.draining_op.eq(sequencer.retire_head.op),
            datapath.active.eq(sequencer.retire_active),
            datapath.deferred.eq(sequencer.retire_deferred),
            datapath.deferred_started.eq(sequencer.retire_deferred_started),
            sequencer.retire_written.eq(datapath.written),
            sequencer.retire_row_written.eq(datapath.row_written),
            sequencer.retire_ended.eq(datapath.ended),
        ]

    def connect_store(self, m, sequencer, store, writer, datapath):
        """On-chip memories to memory."""
        given = sequencer.retire_head.descriptor
        pipe(m, store.command, writer.i)
        pipe(m, store.o, writer.data)
        m.d.comb += [
            store.i.valid.eq(sequencer.retire_started & (given.opcode == Opcode.STORE)),
            store.i.p.target.eq(given.store.target), store.i.p.base.eq(given.store.base),
            store.i.p.address.eq(given.store.address), store.i.p.beats.eq(given.store.beats),
            store.i.p.position.eq(sequencer.retire_head.position),
            store.memory_base.eq(sequencer.memory_base), store.done.eq(writer.done),
            sequencer.retire_stored.eq(store.finished), sequencer.store_error.eq(writer.error),
            sequencer.store_index.eq(store.position),
        ]
        wiring.connect(m, store.read, datapath.store)

    def count(self, m, registers, run, sequencer, reader, writer, datapath):
        """Add up the counters while a program runs."""
        beat_in = reader.o.valid & reader.o.ready
        beat_out = writer.axi.wvalid & writer.axi.wready
        m.d.comb += run.progress.eq(
            reader.progress | writer.progress | datapath.counts.worker_busy.any()
            | datapath.counts.drain_busy)
        steps = {
            "cycles": 1, "compute_busy": sequencer.computing,
            "compute_waits_loads": sequencer.waits[0],
            "compute_waits_computes": sequencer.waits[1],
            "compute_waits_program": sequencer.lacks,
            "load_busy": sequencer.transfer.valid, "load_waits_computes": sequencer.loading,
            "load_stalled": sequencer.transfer.valid & ~beat_in,
            "bytes_read": beat_in * self.hw.bus_bytes,
            "bytes_written": beat_out * self.hw.bus_bytes,
            **{name: getattr(datapath.counts, name) for name in Datapath.COUNTS},
        }
        for counter, name in zip(registers.counters, COUNTERS, strict=True):
            with m.If(run.accepted | registers.reset):
                m.d.sync += counter.eq(0)
            with m.Elif(run.running):
                m.d.sync += counter.eq(counter + steps[name])
