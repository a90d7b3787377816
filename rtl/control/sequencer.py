"""Fetch the program piece by piece, walk it twice, and run it.

The first piece is half the program memory; a ``LOAD`` in each fetches the next.

::

    program memory ──┬──► walker (loads) ──► load executor ────► reader, loader
                     └──► walker (rest)  ──► compute executor ─► datapath ──► retirement
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.executor import ComputeExecutor, LoadExecutor
from deltamoe.rtl.control.retirement import Retirement
from deltamoe.rtl.control.run_control import Program
from deltamoe.rtl.control.transfer_queue import TransferQueue
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.descriptor import ErrorCode, Target
from deltamoe.rtl.formats import COMMAND, TRANSFER
from deltamoe.rtl.interfaces import (
    Counts,
    Deferred,
    Draining,
    Issue,
    Queues,
    Stores,
    Write,
    attach,
)
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe


class Sequencer(wiring.Component):
    """Run one program from ``begin`` until it has ``ended`` or has a ``problem``.

    The first thing that goes wrong is a problem in the next cycle, whatever is in flight; nothing
    that ends the program comes before it. From then on all of this is meaningless until it has been
    reset; see :class:`deltamoe.rtl.control.run_control.RunControl`.

    Members
    -------
    program : ``In(Program())``
        The program; its position is that of the descriptor that memory, or else the datapath, is
        at.
    bus_error, store_error : ``In(1)``
        A read, a write was answered with an error in the cycle before.
    code : ``In(Write(Walker.rows(hw), 8 * hw.bus_bytes))``
        Write port of the program memory.
    command, transfer : ``Out(stream.Signature(COMMAND))``, ``Out(stream.Signature(TRANSFER))``
        To reader and loader, which takes a transfer when it has finished it.
    queues : ``Out(Queues(hw))``
        How many tokens an expert has.
    issue, draining, deferred : ``Out(Issue(hw))``, ``Out(Draining())``, ``Out(Deferred())``
        To the datapath.
    stores : ``Out(Stores())``
        To the store reader.
    counts : ``Out(Counts(…))``
        Operators in flight; no descriptor to issue; the next waits for loads or operators; a load
        runs; a load waits.

    """

    record = Record(moves="orders descriptors", area=Area(
        multipliers=lambda hw: 6,
        block=lambda hw: (Ram(8 * hw.bus_bytes, Walker.rows(hw), copies=2),),
        grows=lambda hw: (hw.word,)), combinational={
        "counts.compute_busy": ("program.running",),
        "counts.compute_waits_program": ("program.running",),
        "program.ended": ("bus_error",),
        "stores.memory_base": ("program.settings",),
    })

    command: stream.Interface
    transfer: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "program": In(Program()), "bus_error": In(1), "store_error": In(1),
            "code": In(Write(Walker.rows(hw), 8 * hw.bus_bytes)),
            "command": Out(stream.Signature(COMMAND)),
            "transfer": Out(stream.Signature(TRANSFER)), "queues": Out(Queues(hw)),
            "issue": Out(Issue(hw)), "draining": Out(Draining()), "deferred": Out(Deferred()),
            "stores": Out(Stores()),
            "counts": Out(Counts(dict.fromkeys((
                "compute_busy", "compute_waits_loads", "compute_waits_computes",
                "compute_waits_program", "load_busy", "load_waits_computes"), 1))),
        })

    def elaborate(self, platform):
        m = Module()
        hw, program, settings = self.hw, self.program, self.program.settings
        m.submodules.program = memory = BlockMemory(8 * hw.bus_bytes, Walker.rows(hw))
        m.submodules.load_walker = load_walker = Walker(hw, loads=True)
        m.submodules.compute_walker = compute_walker = Walker(hw, loads=False)
        m.submodules.load = load = LoadExecutor(hw)
        m.submodules.issue = issue = ComputeExecutor(hw)
        m.submodules.retire = retire = Retirement(hw)
        m.submodules.transfers = transfers = TransferQueue(hw)
        fetched, first, limit = Signal(), Signal(16), Signal(16)

        m.d.comb += [
            first.eq(Mux(settings.length > hw.piece, hw.piece, settings.length)),
            load.fetch.eq(program.begin), load.beats.eq(first * Walker.parts(hw)),
            load.settings.eq(settings), retire.restart.eq(program.begin),
            retire.stored.eq(self.stores.finished), issue.stored.eq(self.stores.finished),
            self.stores.memory_base.eq(settings.memory_base),
        ]
        attach(m, self.code, memory.write_port())
        for walker, executor in ((load_walker, load), (compute_walker, issue)):
            attach(m, walker.read, memory.read_port())
            pipe(m, walker.o, executor.i)
            m.d.comb += [
                walker.walk.start.eq(fetched),
                walker.walk.length.eq(settings.length), walker.walk.limit.eq(limit),
                walker.walk.memory_size.eq(settings.memory_size),
                executor.index.eq(walker.walk.index),
            ]
        pipe(m, load.command, flipped(self.command))
        pipe(m, load.o, transfers.i)
        pipe(m, transfers.o, flipped(self.transfer))
        pipe(m, issue.o, retire.i)
        pipe(m, retire.stores, flipped(self.stores.requests))
        for inner, outer in ((load.occupied, self.queues.occupied),
                             (issue.lengths, self.queues.lengths), (issue.issue, self.issue),
                             (retire.draining, self.draining), (retire.deferred, self.deferred)):
            wiring.connect(m, inner, flipped(outer))
        self.count(m, fetched, first, limit, load, issue, retire)
        self.conclude(m, fetched, load, issue, retire, load_walker.walk, compute_walker.walk)

        return m

    def count(self, m: Module, fetched, first, limit, load, issue, retire):
        """Count what has been loaded and what has finished."""
        begin, transfer = self.program.begin, self.transfer.p
        loads, stores, transferred = Signal(16), Signal(16), Signal()
        m.d.comb += [transferred.eq(self.transfer.valid & self.transfer.ready),
                     fetched.eq(transferred & transfer.program)]
        extends = ~transfer.skip & transfer.into[Target.PROGRAM]
        with m.If(begin | (transferred & (transfer.program | extends))):
            m.d.sync += limit.eq(Mux(begin, 0, Mux(
                transfer.program, first, limit + transfer.descriptor.load.descriptors)))
        with m.If(begin):
            m.d.sync += loads.eq(0)
        with m.Elif(transferred & ~transfer.program):
            m.d.sync += loads.eq(loads + 1)
        m.d.sync += stores.eq(Mux(begin, 0, stores + self.stores.finished))
        for executor in (load, issue):
            finished = executor.finished
            m.d.comb += [finished.loads.eq(loads), finished.computes.eq(retire.finished),
                         finished.stores.eq(stores), finished.rows.eq(retire.rows)]

    def conclude(self, m: Module, fetched, load, issue, retire, load_walk, compute_walk):
        """Decide when the program has ended, and what keeps it from that.

        It is stuck when nothing has moved for two cycles: a load is taken a cycle after it may be.
        That is said in the cycle after.
        """
        program, counts = self.program, self.counts
        fetching, idle, both_done = Signal(), Signal(), Signal()
        stuck, stayed, stays = Signal(), Signal(), Signal()
        at_load, loading = self.transfer.p.position, self.transfer.valid
        was_at_load = Signal.like(at_load)
        m.d.sync += fetching.eq((fetching & ~fetched) | program.begin)
        m.d.comb += [
            idle.eq(~fetching & load.idle & ~loading & issue.idle & retire.idle
                    & ~issue.pending[0]),
            both_done.eq(load_walk.done & compute_walk.done),
            program.ended.eq(idle & both_done & ~self.bus_error),
            stuck.eq(idle & (load_walk.done | load.waits | load_walk.lacks)
                     & (compute_walk.done | issue.waits_loads | issue.waits_computes
                        | compute_walk.lacks) & ~both_done),
            counts.compute_waits_program.eq(
                program.running & issue.idle & ~issue.i.valid & ~compute_walk.done),
            counts.compute_busy.eq(program.running & ~(issue.idle & retire.idle)),
            counts.compute_waits_loads.eq(issue.waits_loads),
            counts.compute_waits_computes.eq(issue.waits_computes),
            counts.load_busy.eq(loading), counts.load_waits_computes.eq(load.waits),
            program.position.eq(Mux(loading, at_load, retire.position)),
        ]
        m.d.sync += [stayed.eq(stuck), stays.eq(stuck & stayed), was_at_load.eq(at_load),
                     program.problem.code.eq(ErrorCode.NONE)]
        for happened, code, index in (
            (stays, ErrorCode.DEADLOCK,
             Mux(compute_walk.done, load_walk.index, compute_walk.index)),
            *((walk.error != ErrorCode.NONE, walk.error, walk.index)
              for walk in (load_walk, compute_walk)),
            (self.store_error, ErrorCode.BUS, self.stores.position),
            (self.bus_error, ErrorCode.BUS, was_at_load),
        ):
            with m.If(program.running & happened):
                m.d.sync += [program.problem.code.eq(code), program.problem.index.eq(index)]
