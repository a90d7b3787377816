"""Fetch the program, walk it twice, run it, and say how it ended.

::

    program memory ──┬──► walker (loads) ──► load executor ────► reader, loader
                     └──► walker (rest)  ──► compute executor ─► datapath
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.executor import ComputeExecutor, LoadExecutor
from rtl.program import DESCRIPTOR, DESCRIPTOR_BYTES, ErrorCode
from rtl.stream.pipe import pipe
from rtl.walker import Walker


class State(enum.Enum, shape=2):
    """Where the sequencer is."""

    IDLE = 0
    FETCH = 1
    RUN = 2


class Sequencer(wiring.Component):
    """Run one program from ``start`` to ``finished`` or ``failed``.

    After an error nothing new begins; what is in flight ends first, so no bus transfer is cut
    off. The first error is reported, with the index of its descriptor.

    Members
    -------
    start, length, program_address, memory_base, memory_size : ``In``
        Begin; descriptors of the program; where it is; base and bytes of the data.
    abort : ``In(1)``
        Stop as after an error.
    bus_error, store_error : ``In(1)``
        A read or a write was answered with an error.
    code : ``In``
        Write port of the program memory.
    load, compute
        The executors' ports to reader, loader and datapath; see there.
    busy, finished, failed, error, index : ``Out``
        Running; ended well, ended with an error; which one, at which descriptor.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        code = data.StructLayout({"en": 1, "address": 16, "data": DESCRIPTOR})
        load = LoadExecutor.ports()
        compute = ComputeExecutor.ports()
        super().__init__({
            "start": In(1), "length": In(16), "program_address": In(40), "memory_base": In(40),
            "memory_size": In(32), "abort": In(1), "bus_error": In(1), "store_error": In(1),
            "code": In(code),
            **{f"load_{name}": load[name] for name in (
                "inspected", "occupied", "command", "started", "finished", "descriptor",
                "program", "idle", "waits")},
            **{f"compute_{name}": compute[name] for name in (
                "rows", "started", "finished", "descriptor", "idle", "waits")},
            "compute_lacks": Out(1),
            "busy": Out(1), "finished": Out(1), "failed": Out(1),
            "error": Out(ErrorCode), "index": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.submodules.program = program = Memory(
            shape=DESCRIPTOR, depth=hw.program_depth, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.load_walker = load_walker = Walker(hw, loads=True)
        m.submodules.compute_walker = compute_walker = Walker(hw, loads=False)
        m.submodules.load = load = LoadExecutor(hw)
        m.submodules.compute = compute = ComputeExecutor(hw)
        write = program.write_port()
        fits = (self.length != 0) & (self.length <= hw.program_depth)
        begin = self.start & ~self.busy & fits

        m.d.comb += [
            write.en.eq(self.code.en), write.addr.eq(self.code.address),
            write.data.eq(self.code.data),
            load.fetch.eq(begin), compute.restart.eq(begin),
            load.length.eq(self.length * (DESCRIPTOR_BYTES // hw.bus_bytes)),
            load.program_address.eq(self.program_address), load.memory_base.eq(self.memory_base),
            load.computes.eq(compute.computes), compute.loads.eq(load.loads),
            self.compute_lacks.eq(self.busy & compute.idle & ~compute.i.valid
                                  & ~compute_walker.done),
        ]
        for walker, executor in ((load_walker, load), (compute_walker, compute)):
            read = program.read_port()
            pipe(m, walker.o, executor.i)
            m.d.comb += [
                read.addr.eq(walker.address), walker.data.eq(read.data),
                walker.start.eq(load.fetched & ~self.bus_error),
                walker.length.eq(self.length), walker.memory_size.eq(self.memory_size),
                executor.index.eq(walker.index),
            ]
        self.connect_ports(m, load, compute)
        self.conclude(m, begin, load_walker, compute_walker, load, compute)

        return m

    def connect_ports(self, m: Module, load: LoadExecutor, compute: ComputeExecutor):
        """Expose the executors."""
        wiring.connect(m, load.command, wiring.flipped(self.load_command))
        m.d.comb += [
            self.load_inspected.eq(load.inspected), load.occupied.eq(self.load_occupied),
            self.load_started.eq(load.started), load.finished.eq(self.load_finished),
            self.load_descriptor.eq(load.descriptor), self.load_program.eq(load.program),
            self.load_idle.eq(load.idle), self.load_waits.eq(load.waits),
            compute.rows.eq(self.compute_rows), self.compute_started.eq(compute.started),
            compute.finished.eq(self.compute_finished), self.compute_idle.eq(compute.idle),
            self.compute_descriptor.eq(compute.descriptor), self.compute_waits.eq(compute.waits),
        ]

    def conclude(self, m: Module, begin, load_walker, compute_walker, load, compute):
        """Decide when and how the program has ended."""
        state, stop = Signal(State), Signal()
        idle, both_done, stuck = Signal(), Signal(), Signal()
        m.d.comb += [
            self.busy.eq(state != State.IDLE),
            load.stop.eq(stop), compute.stop.eq(stop),
            idle.eq(load.idle & compute.idle),
            both_done.eq(load_walker.done & compute_walker.done),
            stuck.eq(idle & (load_walker.done | load.waits)
                     & (compute_walker.done | compute.waits) & ~both_done),
        ]
        with m.If(begin):
            m.d.sync += [state.eq(State.FETCH), stop.eq(0), self.error.eq(ErrorCode.NONE)]
        with m.Elif(self.start & ~self.busy):
            m.d.comb += self.failed.eq(1)
            m.d.sync += [self.error.eq(ErrorCode.LENGTH), self.index.eq(0)]
        with m.Elif((state == State.FETCH) & load.fetched):
            m.d.sync += state.eq(State.RUN)
        with m.If(self.busy & ~stop):
            for happened, error, index in (
                (stuck & (state == State.RUN), ErrorCode.DEADLOCK,
                 Mux(compute_walker.done, load_walker.index, compute_walker.index)),
                (load_walker.error != ErrorCode.NONE, load_walker.error, load_walker.index),
                (compute_walker.error != ErrorCode.NONE, compute_walker.error,
                 compute_walker.index),
                (self.store_error, ErrorCode.BUS, compute.position),
                (self.bus_error, ErrorCode.BUS, load.position),
                (self.abort, ErrorCode.NONE, 0),
            ):
                with m.If(happened):
                    m.d.sync += [stop.eq(1), self.error.eq(error), self.index.eq(index)]
        with m.If((state == State.FETCH) & stop & load.idle):
            m.d.comb += self.failed.eq(1)
            m.d.sync += state.eq(State.IDLE)
        with m.Elif((state == State.RUN) & idle & (stop | both_done)):
            m.d.comb += [self.failed.eq(stop), self.finished.eq(~stop)]
            m.d.sync += state.eq(State.IDLE)
