"""The sequencer runs a program, and reports what went wrong."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from amaranth import ResetInserter, Signal

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.executor import ComputeExecutor, LoadExecutor
from deltamoe.rtl.control.sequencer import Sequencer
from deltamoe.rtl.control.transfer_queue import TransferQueue
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.formats import COMMAND, STORING
from deltamoe.rtl.program import Descriptor, Dest, ErrorCode, Halt, Linear, Load, Store, Target
from tests.support.bench import drive, get, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW, P

SHORT = replace(HW, name="short", program_depth=8)
"""Fetches four descriptors at a time."""

LOAD = Load(target=Target.RESIDUAL, beats=1, address=HW.bus_bytes)
LINEAR = Linear(rows=1, depth=1, columns=P, passes=1)
PROBE = Linear(rows=1, depth=1, columns=P, passes=1, dest=Dest.CHANGED)
KEEP = Store(target=Target.REFERENCE, beats=1)
TO_OFFER = {loads: Walker.fetch_to_offer(HW, loads) for loads in (False, True)}
TAKEN_TO_TRANSFER = TransferQueue.LATENCY


class Machine:
    """A sequencer whose surroundings do what a test lets them do.

    ``seen`` has the cycles in which the outputs of :meth:`watched` were high, of a transfer those
    in which it came before the loader, and ``cycle`` is the one that is now.
    """

    def __init__(self, ctx, dut: Sequencer) -> None:
        self.ctx, self.dut, self.cycle, self.fetched = ctx, dut, 0, 0
        self.inputs = {
            "transfer": dut.transfer.ready, "command": dut.command.ready,
            "issued": dut.issue.issued, "row_written": dut.draining.row_written,
            "written": dut.draining.written, "stored": dut.stores.finished}
        self.held = {"command"}
        self.taken, self.seen = True, {name: [] for name in self.watched()}

    def watched(self) -> dict:
        dut = self.dut
        return {"transfer": dut.transfer.valid, "command": dut.command.valid,
                "start": dut.issue.operator.start, "drain": dut.draining.operator.start,
                "store": dut.stores.requests.valid, "ended": dut.program.ended,
                "problem": dut.program.problem.code}

    async def tick(self, *high: str, cycles: int = 1) -> None:
        """Let cycles pass, with some inputs high in the first beside those that are held."""
        for number in range(cycles):
            for name, port in self.inputs.items():
                self.ctx.set(port, name in self.held or (name in high and number == 0))
            shown = self.ctx.get(self.dut.transfer.valid)
            for name, port in self.watched().items():
                if get(self.ctx, port) and (name != "transfer" or self.taken):
                    self.seen[name].append(self.cycle)
            self.taken = not shown or bool(self.ctx.get(self.dut.transfer.ready))
            await self.ctx.tick()
            self.cycle += 1
        for port in self.inputs.values():
            self.ctx.set(port, 0)

    async def until(self, cycle: int) -> None:
        """Let the cycles before this one pass."""
        assert cycle >= self.cycle, "it is over"
        await self.tick(cycles=cycle - self.cycle)

    def counts(self) -> set[str]:
        """Return the counters that this cycle adds to."""
        return {name for name in self.dut.counts.signature.members
                if self.ctx.get(getattr(self.dut.counts, name))}

    async def code(self, program: list[Descriptor], first: int, count: int) -> None:
        """Write so many descriptors of the program from ``first`` on."""
        hw = self.dut.hw
        parts, bits = Walker.parts(hw), 8 * hw.bus_bytes
        for row in range(parts * first, parts * (first + count)):
            drive(self.ctx, self.dut.code, en=1, address=row % Walker.rows(hw),
                  data=encoded(program[row // parts]) >> row % parts * bits & ((1 << bits) - 1))
            await self.tick()
        drive(self.ctx, self.dut.code)

    async def begin(self, program: list[Descriptor]) -> None:
        """Begin a program, and give its first piece when the sequencer asks for it."""
        ctx, dut, hw = self.ctx, self.dut, self.dut.hw
        ctx.set(dut.program.running, 0)
        first = min(len(program), hw.piece)
        for name, value in (("length", len(program)), ("memory_size", 4096),
                            ("program_address", 3 << 33), ("memory_base", 5 << 30)):
            ctx.set(dut.program.settings[name], value)
        ctx.set(dut.program.begin, 1)
        assert "compute_waits_program" not in self.counts(), "nothing runs"
        await self.tick()
        ctx.set(dut.program.begin, 0)
        ctx.set(dut.program.running, 1)
        assert get(ctx, dut.command.payload) == pack(COMMAND, {
            "address": 3 << 33, "beats": first * Walker.parts(hw)})
        await self.code(program, 0, first)
        assert (ctx.get(dut.transfer.valid), ctx.get(dut.transfer.p.program)) == (1, 1)
        self.fetched = self.cycle
        for cycles in self.seen.values():
            cycles.clear()
        await self.tick("transfer")

    def offered(self, index: int, *, loads: bool) -> int:
        """Return when a descriptor is offered that is the first of its walker."""
        return self.fetched + 1 + index * Walker.SKIP + TO_OFFER[loads]

    def walked(self, index: int) -> int:
        """Return when a walker that offers nothing looks for this descriptor."""
        return self.fetched + 1 + index * Walker.SKIP


def run(*bodies: Callable[[Machine], Awaitable[None]], hw: HwConfig = HW) -> None:
    """Run each body on a sequencer that has been cleared, as before a program."""
    dut, clear = Sequencer(hw), Signal()

    async def bench(ctx):
        for body in bodies:
            ctx.set(clear, 1)
            await ctx.tick()
            ctx.set(clear, 0)
            await body(Machine(ctx, dut))

    simulate(ResetInserter(clear)(dut), bench)


def test_loads_operators_and_transfers_wait_for_each_other() -> None:
    """To the cycle: a load is looked at when what it waits for is counted, an operator taken."""
    program = [
        LOAD, replace(LINEAR, wait_loads=1), replace(LOAD, wait_computes=1, address=64),
        replace(LINEAR, wait_loads=2, wait_computes=1),
        Store(target=Target.RESIDUAL, beats=1, address=24, base=3, wait_computes=2),
        replace(LOAD, wait_stores=1), Halt()]

    async def body(machine: Machine) -> None:
        ctx, dut, seen = machine.ctx, machine.dut, machine.seen
        judged, command = LoadExecutor.JUDGED, LoadExecutor.COMMAND
        await machine.begin(program)
        assert machine.counts() == {"compute_waits_program"}
        offered = machine.offered(1, loads=False)
        await machine.until(offered - 1)
        assert machine.counts() == {"load_busy", "compute_waits_program"}
        await machine.tick()
        assert machine.counts() == {"load_busy", "compute_waits_loads"}
        taken = machine.offered(0, loads=True) + judged
        assert (seen["command"], seen["transfer"]) == (
            [taken + command], [taken + TAKEN_TO_TRANSFER])
        assert get(ctx, dut.command.payload) == pack(COMMAND, {
            "address": (5 << 30) + HW.bus_bytes, "beats": 1})
        await machine.tick(cycles=40)
        assert get(ctx, dut.program.position) == 0
        assert machine.counts() == {
            "load_busy", "compute_waits_loads", "load_waits_computes"}
        loaded = machine.cycle
        await machine.tick("transfer")
        assert machine.counts() == {"load_waits_computes"}
        await machine.tick()
        assert machine.counts() == {"load_waits_computes", "compute_busy"}
        ctx.set(dut.program.running, 0)
        assert machine.counts() == {"load_waits_computes"}, "nothing runs"
        ctx.set(dut.program.running, 1)
        await machine.tick(cycles=2)
        assert seen["start"] == [loaded + 1 + ComputeExecutor.START]
        assert seen["drain"] == [seen["start"][0] + 1]
        assert get(ctx, dut.program.position) == 1
        await machine.tick("row_written")
        assert ctx.get(dut.issue.ready_rows) == 1
        await machine.tick("issued")
        assert machine.counts() == {
            "load_waits_computes", "compute_busy", "compute_waits_program"}
        await machine.tick(cycles=60)
        assert machine.counts() == {
            "load_waits_computes", "compute_busy", "compute_waits_loads"}
        assert ctx.get(dut.issue.released), "it waited for no operator"
        written = machine.cycle
        await machine.tick("written")
        assert machine.counts() == {"load_waits_computes", "compute_waits_loads"}
        await machine.tick()
        assert machine.counts() == {"compute_waits_loads"}
        await machine.tick(cycles=TAKEN_TO_TRANSFER)
        assert (get(ctx, dut.program.position), ctx.get(dut.transfer.valid)) == (2, 1)
        await machine.tick(cycles=8)
        assert seen["command"][1:] == [written + 1 + judged + command]
        assert seen["transfer"][1:] == [written + 1 + judged + TAKEN_TO_TRANSFER]
        assert ctx.get(dut.issue.ready_rows) == 0
        loaded = machine.cycle
        await machine.tick("transfer")
        await machine.tick(cycles=3)
        assert seen["start"][1:] == [loaded + 1 + ComputeExecutor.START]
        await machine.tick("issued")
        await machine.tick(cycles=60)
        assert get(ctx, dut.program.position) == 3
        assert machine.counts() == {
            "load_waits_computes", "compute_busy", "compute_waits_computes"}
        written = machine.cycle
        await machine.tick("written")
        assert machine.counts() == {"load_waits_computes"}
        await machine.tick(cycles=2)
        assert (ctx.get(dut.stores.requests.valid), ctx.get(dut.stores.memory_base)) == (1, 5 << 30)
        assert get(ctx, dut.stores.requests.payload) == pack(STORING, {
            "target": Target.RESIDUAL, "base": 3, "address": 24, "beats": 1, "position": 4})
        await machine.tick(cycles=30)
        assert seen["store"] == [written + 1 + ComputeExecutor.START + 1]
        assert machine.counts() == {"load_waits_computes", "compute_busy"}
        stored = machine.cycle
        await machine.tick("stored")
        assert machine.counts() == {"load_waits_computes"}
        await machine.tick(cycles=30)
        assert seen["transfer"][2:] == [stored + 1 + judged + TAKEN_TO_TRANSFER]
        loaded = machine.cycle
        await machine.tick("transfer")
        assert machine.counts() == set()
        await machine.tick(cycles=6)
        assert seen["ended"] == list(range(loaded + 1, loaded + 7))
        assert seen["problem"] == []

    run(body)


DEADLOCKS: list[tuple[list[Descriptor], int]] = [
    ([replace(LOAD, wait_computes=1), Halt()], 0),
    ([replace(LINEAR, wait_loads=1), Halt()], 0),
    ([replace(LINEAR, wait_computes=1), Halt()], 0),
    ([replace(LOAD, wait_computes=1), replace(LINEAR, wait_loads=1), Halt()], 1),
    ([replace(LINEAR, wait_loads=1), replace(LOAD, wait_computes=1), Halt()], 0),
    # the second piece is never asked for
    ([replace(LINEAR, wait_loads=1), *3 * [LINEAR], Halt()], 0),
    ([replace(LOAD, wait_computes=9), *3 * [LOAD], Halt()], 4)]
"""Programs, and the descriptor that is told."""


def standstill(machine: Machine, program: list[Descriptor]) -> int:
    """Return from when on nothing moves, if the first load and operator wait for ever."""
    beginnings = []
    for loads in (False, True):
        own = [n for n, descriptor in enumerate(program[: SHORT.piece])
               if not isinstance(descriptor, Halt) and isinstance(descriptor, Load) == loads]
        if own:
            beginnings.append(machine.offered(own[0], loads=loads) + loads * LoadExecutor.JUDGED)
        elif len(program) > SHORT.piece:
            beginnings.append(machine.walked(SHORT.piece))
        else:
            beginnings.append(machine.walked(len(program) - 1) + Walker.SKIP)
    return max(beginnings)


def test_what_waits_for_ever_is_a_deadlock() -> None:
    """It is told behind two cycles in which nothing moved, of the operator if there is one."""
    def of(program: list[Descriptor], index: int):
        async def body(machine: Machine) -> None:
            problem = machine.dut.program.problem
            await machine.begin(program)
            await machine.until(standstill(machine, program) + 3)
            assert (machine.seen["problem"], machine.seen["ended"]) == ([], [])
            assert get(machine.ctx, problem.code) == ErrorCode.DEADLOCK, program
            assert machine.ctx.get(problem.index) == index
            machine.ctx.set(machine.dut.program.running, 0)
            await machine.tick()
            assert get(machine.ctx, problem.code) == ErrorCode.NONE
        return body

    run(*(of(*case) for case in DEADLOCKS), hw=SHORT)


def test_a_wrong_descriptor_is_a_problem() -> None:
    """Of either walker, with its place; until then there is none."""
    def of(program: list[Descriptor], code: ErrorCode):
        async def body(machine: Machine) -> None:
            problem = machine.dut.program.problem
            await machine.begin(program)
            while get(machine.ctx, problem.code) == ErrorCode.NONE:
                assert machine.cycle < 200, "nothing is wrong"
                await machine.tick()
            assert (get(machine.ctx, problem.code), machine.ctx.get(problem.index)) == (code, 1)
        return body

    run(of([LINEAR, replace(LOAD, base=HW.residual_words), Halt()], ErrorCode.RANGE),
        of([LOAD, replace(LINEAR, depth=0), Halt()], ErrorCode.FIELD))


def test_a_load_of_the_program_lets_the_walkers_go_on() -> None:
    """By as many descriptors as it loads, unless it is skipped; no other load does."""
    def of(*, loaded: int, skipped: bool = False):
        program = [Load(target=Target.PROGRAM, base=4, beats=loaded * Walker.parts(SHORT),
                        descriptors=loaded, skip_if_empty=skipped), replace(LOAD, descriptors=2),
                   LOAD, LOAD, LOAD, replace(LINEAR, wait_loads=5), Halt()]
        there = SHORT.piece + (0 if skipped else loaded)

        async def body(machine: Machine) -> None:
            ctx, dut = machine.ctx, machine.dut
            await machine.begin(program)
            await machine.tick(cycles=60)
            assert (ctx.get(dut.transfer.p.skip), ctx.get(dut.transfer.p.into)) == (
                skipped, 1 << Target.PROGRAM)
            assert machine.counts() == {"load_busy", "compute_waits_program"}
            await machine.code(program, SHORT.piece, 3)
            for position in range(min(there, 5)):
                assert ctx.get(dut.transfer.p.position) == position
                await machine.tick("transfer")
                await machine.tick(cycles=40 * (position == SHORT.piece - 1 and not skipped))
            if there < len(program):
                machine.held |= {"issued", "written"}
                await machine.tick(cycles=60)
                assert machine.seen["ended"] == []
                assert get(ctx, dut.program.problem.code) == ErrorCode.DEADLOCK
                assert ctx.get(dut.program.problem.index) == there
                return
            await machine.tick(cycles=3)
            assert len(machine.seen["start"]) == 1
            await machine.tick("issued", cycles=3)
            await machine.tick("written", cycles=3)
            assert (len(machine.seen["ended"]), machine.seen["problem"]) == (2, [])
        return body

    run(of(loaded=3), of(loaded=2), of(loaded=3, skipped=True), hw=SHORT)


def test_a_load_waits_for_all_its_transfers() -> None:
    program = [KEEP, KEEP, replace(LOAD, wait_stores=2), Halt()]

    async def body(machine: Machine) -> None:
        await machine.begin(program)
        await machine.tick(cycles=100)
        await machine.tick("stored", cycles=20)
        assert (len(machine.seen["store"]), machine.seen["transfer"]) == (2, [])
        stored = machine.cycle
        await machine.tick("stored", cycles=20)
        assert machine.seen["transfer"] == [stored + 1 + LoadExecutor.JUDGED + TAKEN_TO_TRANSFER]

    run(body)


def test_a_program_ends_behind_the_last_of_its_work() -> None:
    """Until then it has neither ended nor a problem."""
    def of(descriptor: Descriptor, last: str, late: int = 1):
        async def body(machine: Machine) -> None:
            await machine.begin([descriptor, Halt()])
            machine.held = {"transfer", "command", "issued", "written"} - {last}
            await machine.tick(cycles=100)
            assert (machine.seen["ended"], machine.seen["problem"]) == ([], []), last
            happened = machine.cycle
            await machine.tick(last)
            await machine.tick(cycles=5)
            assert machine.seen["ended"] == list(range(happened + late, happened + 6)), last
        return body

    run(of(LOAD, "transfer"), of(LOAD, "command"), of(LINEAR, "written"), of(KEEP, "stored"),
        of(PROBE, "issued", late=2))


def test_a_program_has_not_ended_between_its_loads() -> None:
    """However fast they are; the loader may be ready before there is one."""
    program = [LOAD, LOAD, LOAD, Halt()]

    async def body(machine: Machine) -> None:
        await machine.begin(program)
        machine.held |= {"transfer"}
        await machine.tick(cycles=150)
        assert len(machine.seen["transfer"]) == 3
        assert machine.seen["ended"][0] > machine.seen["transfer"][-1]
        assert machine.seen["problem"] == []

    run(body)


def test_a_program_that_begins_again_takes_the_same_cycles() -> None:
    """All counts begin anew; an operator waits for its own loads."""
    program = [LOAD, LOAD, replace(LINEAR, wait_loads=2), replace(KEEP, wait_computes=1),
               replace(LOAD, wait_stores=1, wait_computes=2), Halt()]

    async def body(machine: Machine) -> None:
        runs = []
        for _ in range(2):
            machine.held = {"command", "issued"}
            await machine.begin(program)
            machine.held |= {"transfer"}
            while not machine.seen["drain"]:
                assert machine.cycle < 1000, "it does not get on"
                await machine.tick()
            await machine.tick(cycles=60)
            await machine.tick("written", cycles=5)
            await machine.tick(cycles=9)
            await machine.tick("stored", cycles=60)
            runs.append({name: [cycle - machine.fetched for cycle in cycles]
                         for name, cycles in machine.seen.items()})
        assert runs[0] == runs[1]
        begun, = runs[0]["start"]
        first, second, third = runs[0]["transfer"]
        assert begun == second + 1 + ComputeExecutor.START
        assert third > runs[0]["store"][0] + 9
        assert first < second < begun
        walked = third - TAKEN_TO_TRANSFER + 1 + Walker.SKIP
        assert runs[0]["ended"][0] == max(walked, third + 1)

    run(body)


def test_sequencer_runs_a_program() -> None:
    program = [Load(target=Target.RESIDUAL, beats=1),
               Linear(rows=1, depth=1, columns=P, passes=1, wait_loads=1), Halt()]
    dut = Sequencer(HW)

    async def bench(ctx):
        await fetch(ctx, dut, program)
        order = []
        for _ in range(80):
            loads = ctx.get(dut.transfer.valid)
            ctx.set(dut.transfer.ready, loads)
            order += ["load"] * loads + ["issue"] * ctx.get(dut.issue.operator.start)
            order += ["drain"] * ctx.get(dut.draining.operator.start)
            order += ["ended"] * ctx.get(dut.program.ended)
            ctx.set(dut.program.running, "ended" not in order)
            ctx.set(dut.issue.issued, "issue" in order)
            ctx.set(dut.draining.written, order[-1:] == ["drain"])
            await ctx.tick()
            assert get(ctx, dut.program.problem.code) == ErrorCode.NONE
        assert order[:4] == ["load", "issue", "drain", "ended"]
        assert set(order[4:]) == {"ended"}, "something began behind the end"
        ctx.set(dut.program.running, 1)
        ctx.set(dut.bus_error, 1)
        assert not ctx.get(dut.program.ended), "the last beat came with an error"
        await ctx.tick()
        ctx.set(dut.bus_error, 0)
        assert get(ctx, dut.program.problem.code) == ErrorCode.BUS
        await begin(ctx, dut)
        assert not ctx.get(dut.program.ended), "the end before is taken for the next one's"

    simulate(dut, bench)


@pytest.mark.parametrize("port", ["bus_error", "store_error"])
def test_sequencer_reports_what_the_bus_answered(port: str) -> None:
    """While a program runs, with the place of the transfer."""
    dut = Sequencer(HW)

    async def bench(ctx):
        ctx.set(dut.program.settings.length, 3)
        ctx.set(dut.stores.position, 77)
        ctx.set(getattr(dut, port), 1)
        assert get(ctx, dut.program.problem.code) == ErrorCode.NONE, "nothing runs"
        await begin(ctx, dut)
        assert get(ctx, dut.program.problem.code) == ErrorCode.NONE
        await ctx.tick()
        ctx.set(getattr(dut, port), 0)
        assert get(ctx, dut.program.problem.code) == ErrorCode.BUS
        assert ctx.get(dut.program.problem.index) == (77 if port == "store_error" else 0)

    simulate(dut, bench)


def test_an_error_of_a_last_beat_is_of_its_own_transfer() -> None:
    """It is told a cycle later, when the next transfer is before the loader already."""
    load = Load(target=Target.RESIDUAL, beats=1)
    dut = Sequencer(HW)

    async def bench(ctx):
        await fetch(ctx, dut, [load, load, load, Halt()])
        ctx.set(dut.transfer.ready, 0)
        await ctx.tick().repeat(100)
        for position in range(2):
            assert ctx.get(dut.transfer.p.position) == position
            ctx.set(dut.transfer.ready, 1)
            await ctx.tick()
        ctx.set(dut.transfer.ready, 0)
        ctx.set(dut.bus_error, 1)
        assert ctx.get(dut.transfer.p.position) == 2
        await ctx.tick()
        assert get(ctx, dut.program.problem.code) == ErrorCode.BUS
        assert ctx.get(dut.program.problem.index) == 1

    simulate(dut, bench)


async def fetch(ctx, dut: Sequencer, program: list) -> None:
    """Begin a program, and give it when the sequencer asks for it."""
    ctx.set(dut.program.settings.length, len(program))
    ctx.set(dut.program.settings.memory_size, 64)
    ctx.set(dut.command.ready, 1)
    await begin(ctx, dut)
    assert not ctx.get(dut.transfer.valid), "it is handed on by a register"
    await ctx.tick()
    assert (ctx.get(dut.transfer.valid), ctx.get(dut.transfer.p.program)) == (1, 1)
    parts, bits = Walker.parts(HW), 8 * HW.bus_bytes
    for row in range(parts * len(program)):
        data = encoded(program[row // parts]) >> row % parts * bits
        drive(ctx, dut.code, en=1, address=row, data=data & ((1 << bits) - 1))
        ctx.set(dut.transfer.ready, row == parts * len(program) - 1)
        await ctx.tick()
    drive(ctx, dut.code)


async def begin(ctx, dut: Sequencer) -> None:
    """Begin a program."""
    ctx.set(dut.program.begin, 1)
    await ctx.tick()
    ctx.set(dut.program.begin, 0)
    ctx.set(dut.program.running, 1)
