"""Fetch the program piece by piece, walk it twice, and run it.

The first piece is half the program memory; a ``LOAD`` in each fetches the next.

::

    program memory ──┬──► walker (loads) ──► load executor ────► reader, loader
                     └──► walker (rest)  ──► compute executor ─► datapath ──► retirement
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.executor import ComputeExecutor, LoadExecutor
from deltamoe.rtl.control.retirement import ISSUED, Retirement
from deltamoe.rtl.control.run_control import PROBLEM
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.descriptor import DESCRIPTOR, ErrorCode, Target
from deltamoe.rtl.formats import COMMAND, TRANSFER
from deltamoe.rtl.interfaces import Lookup, Write, attach
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe


class Sequencer(cycles.Sequencer, wiring.Component):
    """Run one program from ``begin`` until it has ``ended`` or has a ``problem``.

    The first thing that goes wrong is a problem at once, whatever is in flight. From then on all
    of this is meaningless until it has been reset; see
    :class:`deltamoe.rtl.control.run_control.RunControl`.

    Members
    -------
    begin, running : ``In(1)``
        Fetch the program; from the next cycle on, it runs.
    length, program_address, memory_base, memory_size : ``In``
        Descriptors of the program; where it is; base and bytes of the data. Constant meanwhile.
    ended, problem, position : ``Out(1)``, ``Out(PROBLEM)``, ``Out(16)``
        All of the program has been done; why it cannot go on; the descriptor that memory, or else
        the datapath, is at.
    bus_error, store_error, store_index : ``In(1)``, ``In(1)``, ``In(16)``
        A read or a write was answered with an error; the place of that ``STORE``.
    code : ``In(Write(Walker.rows(hw), 8 * hw.bus_bytes))``
        Write port of the program memory.
    command, transfer : ``Out(stream.Signature(COMMAND))``, ``Out(stream.Signature(TRANSFER))``
        To reader and loader, which takes a transfer when it has finished it.
    occupied : ``Out(Lookup(256, 1))``
        Whether an expert has tokens.
    issue_… : as in :class:`deltamoe.rtl.control.executor.ComputeExecutor`
    retire_… : as in :class:`deltamoe.rtl.control.retirement.Retirement`
    computing, lacks, waits, loading : ``Out``
        For the counters: operators in flight; no descriptor to issue; the next waits for loads
        (0) or operators (1); a load waits.
    """

    record = Record(moves="orders descriptors", area=Area(
        multipliers=lambda hw: 6,
        block=lambda hw: (Ram(8 * hw.bus_bytes, Walker.rows(hw), copies=2),),
        grows=lambda hw: (hw.word,)))

    command: stream.Interface
    transfer: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "begin": In(1), "running": In(1), "length": In(16), "program_address": In(40),
            "memory_base": In(40), "memory_size": In(32),
            "ended": Out(1), "problem": Out(PROBLEM), "position": Out(16),
            "bus_error": In(1), "store_error": In(1), "store_index": In(16),
            "code": In(Write(Walker.rows(hw), 8 * hw.bus_bytes)),
            "command": Out(stream.Signature(COMMAND)),
            "transfer": Out(stream.Signature(TRANSFER)),
            "occupied": Out(Lookup(256, 1)),
            "issue_descriptor": Out(DESCRIPTOR), "issue_started": Out(1), "issue_issued": In(1),
            "issue_rows": In(range(hw.max_tokens + 1)), "issue_op": Out(3),
            "issue_released": Out(1),
            "retire_head": Out(ISSUED), "retire_active": Out(1), "retire_started": Out(1),
            "retire_deferred": Out(DESCRIPTOR), "retire_deferred_started": Out(1),
            "retire_written": In(1), "retire_stored": In(1), "retire_ended": In(1),
            "retire_row_written": In(1), "retire_rows": Out(range(hw.max_tokens + 1)),
            "computing": Out(1), "lacks": Out(1), "waits": Out(2), "loading": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        parts = Walker.parts(hw)
        m.submodules.program = program = Memory(
            shape=8 * hw.bus_bytes, depth=Walker.rows(hw), init=[],
            attrs={"ram_style": "block"}
        )
        m.submodules.load_walker = load_walker = Walker(hw, loads=True)
        m.submodules.compute_walker = compute_walker = Walker(hw, loads=False)
        m.submodules.load = load = LoadExecutor(hw)
        m.submodules.issue = issue = ComputeExecutor(hw)
        m.submodules.retire = retire = Retirement(hw)
        m.submodules.transfers = transfers = Fifo(TRANSFER, self.TRANSFERS)
        loads, stores, transferred = Signal(16), Signal(16), Signal()
        fetched, first, limit = Signal(), Signal(16), Signal(16)
        given = transfers.o.p

        attach(m, self.code, program.write_port())
        m.d.comb += [
            first.eq(Mux(self.length > hw.piece, hw.piece, self.length)),
            load.fetch.eq(self.begin), retire.restart.eq(self.begin),
            load.length.eq(first * parts),
            load.program_address.eq(self.program_address), load.memory_base.eq(self.memory_base),
            load.computes.eq(retire.finished), issue.computes.eq(retire.finished),
            load.stores.eq(stores), issue.stored.eq(self.retire_stored),
            issue.loads.eq(loads), issue.room.eq(retire.i.ready),
            transferred.eq(self.transfer.valid & self.transfer.ready),
            fetched.eq(transferred & given.program),
        ]
        with m.If(self.begin | fetched):
            m.d.sync += limit.eq(Mux(self.begin, 0, first))
        with m.Elif(transferred & ~given.skip
                    & (given.descriptor.load.target == Target.PROGRAM)):
            m.d.sync += limit.eq(limit + given.descriptor.load.descriptors)
        m.d.sync += [loads.eq(Mux(self.begin, 0, loads + (transferred & ~fetched))),
                     stores.eq(Mux(self.begin, 0, stores + self.retire_stored))]
        for walker, executor in ((load_walker, load), (compute_walker, issue)):
            attach(m, walker.read, program.read_port())
            pipe(m, walker.o, executor.i)
            m.d.comb += [
                walker.start.eq(fetched & ~self.bus_error),
                walker.length.eq(self.length), walker.limit.eq(limit),
                walker.memory_size.eq(self.memory_size),
                executor.index.eq(walker.index),
            ]
        self.connect_ports(m, load, issue, retire, transfers)
        self.conclude(m, fetched, load, issue, retire, transfers, (load_walker, compute_walker))

        return m

    def connect_ports(self, m: Module, load, issue, retire, transfers):
        """Expose executors and retirement."""
        pipe(m, load.command, flipped(self.command))
        pipe(m, load.o, transfers.i)
        pipe(m, transfers.o, flipped(self.transfer))
        pipe(m, issue.o, retire.i)
        wiring.connect(m, load.occupied, flipped(self.occupied))
        m.d.comb += [
            self.issue_descriptor.eq(issue.descriptor), self.issue_started.eq(issue.started),
            issue.issued.eq(self.issue_issued), issue.rows.eq(self.issue_rows),
            self.issue_op.eq(issue.op), self.issue_released.eq(issue.released),
            self.waits.eq(issue.waits_loads | issue.waits_computes << 1),
            self.loading.eq(load.waits),
        ]
        for name in ("head", "active", "started", "deferred", "deferred_started", "rows"):
            m.d.comb += getattr(self, f"retire_{name}").eq(getattr(retire, name))
        for name in ("written", "stored", "ended", "row_written"):
            m.d.comb += getattr(retire, name).eq(getattr(self, f"retire_{name}"))

    def conclude(self, m: Module, fetched, load, issue, retire, transfers, walkers):
        """Decide when the program has ended, and what keeps it from that."""
        fetching, idle, both_done, stuck = Signal(), Signal(), Signal(), Signal()
        load_walker, compute_walker = walkers
        at_load = transfers.o.p.position
        m.d.sync += fetching.eq((fetching & ~fetched) | self.begin)
        m.d.comb += [
            idle.eq(~fetching & load.idle & ~transfers.o.valid & issue.idle & retire.idle
                    & (issue.pending == 0)),
            both_done.eq(load_walker.done & compute_walker.done),
            self.ended.eq(idle & both_done),
            stuck.eq(idle & (load_walker.done | load.waits | load_walker.lacks)
                     & (compute_walker.done | (self.waits != 0) | compute_walker.lacks)
                     & ~both_done),
            self.lacks.eq(self.running & issue.idle & ~issue.i.valid & ~compute_walker.done),
            self.computing.eq(self.running & ~(issue.idle & retire.idle)),
            self.position.eq(Mux(transfers.o.valid, at_load, retire.head.position)),
        ]
        for happened, code, index in (
            (stuck, ErrorCode.DEADLOCK,
             Mux(compute_walker.done, load_walker.index, compute_walker.index)),
            *((walker.error != ErrorCode.NONE, walker.error, walker.index)
              for walker in walkers),
            (self.store_error, ErrorCode.BUS, self.store_index),
            (self.bus_error, ErrorCode.BUS, at_load),
        ):
            with m.If(self.running & happened):
                m.d.comb += [self.problem.code.eq(code), self.problem.index.eq(index)]
