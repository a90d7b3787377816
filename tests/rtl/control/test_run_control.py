"""How programs start and end: settings, drain, clear, watchdog, reset, starts that wait."""

import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.control.run_control import RUN, RunControl
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH
from deltamoe.rtl.program import DESCRIPTOR_BYTES, ErrorCode
from tests.support.bench import get, simulate

HW = PRESETS["nano"]
TOP = 1 << ADDRESS_WIDTH
RIGHT = {"program_address": 64, "length": 3, "memory_base": 128, "memory_size": 4096,
         "watchdog": 20}


class Bench:
    """A run control whose ends are counted."""

    def __init__(self, ctx, dut: RunControl, **settings: int) -> None:
        self.ctx, self.dut = ctx, dut
        self.seen = dict.fromkeys(("accepted", "finished", "failed", "clear", "begin"), 0)
        self.settle(**settings)

    def settle(self, **settings: int) -> None:
        """Write the registers."""
        for name, value in (RIGHT | settings).items():
            self.ctx.set(self.dut.commands.settings[name], value)

    async def tick(self, cycles: int = 1, **pulses: int) -> None:
        """Let cycles pass, with some inputs high in the first."""
        for name in pulses:
            self.ctx.set(self.port(name), 1)
        for _ in range(cycles):
            for name in self.seen:
                self.seen[name] += self.ctx.get(self.port(name))
            await self.ctx.tick()
            for name in pulses:
                self.ctx.set(self.port(name), 0)

    async def start(self) -> None:
        """Let the settings settle, and start until the program runs."""
        await self.tick(RunControl.SETTLE)
        await self.tick(start=1)
        await self.tick(2)
        assert self.now("running")

    async def problem(self, code: ErrorCode, index: int) -> None:
        """Run into an error."""
        self.ctx.set(self.dut.program.problem.code, code)
        self.ctx.set(self.dut.program.problem.index, index)
        await self.tick()
        self.ctx.set(self.dut.program.problem.code, ErrorCode.NONE)

    def now(self, name: str) -> int:
        return self.ctx.get(self.port(name))

    def port(self, name: str):
        """Return the port of this name, whoever it belongs to."""
        owner, = (place for place in (self.dut, self.dut.commands, self.dut.program, self.dut.bus)
                  if name in place.signature.members)
        return getattr(owner, name)

    def error(self) -> tuple[int, int]:
        return (get(self.ctx, self.dut.commands.error.code),
                self.ctx.get(self.dut.commands.error.index))


def run(body, **settings: int) -> None:
    """Run a body on a fresh unit."""
    dut = RunControl(HW)

    async def bench(ctx):
        await body(Bench(ctx, dut, **settings))

    simulate(dut, bench)


EDGES = [
    ({"length": 0}, ErrorCode.LENGTH),
    ({"length": 1}, ErrorCode.NONE),
    ({"length": 0xFFFF}, ErrorCode.NONE),
    ({"length": 0x10000}, ErrorCode.LENGTH),
    ({"length": 0x80000003}, ErrorCode.LENGTH),
    ({"program_address": 1}, ErrorCode.ADDRESS),
    ({"program_address": HW.bus_bytes // 2}, ErrorCode.ADDRESS),
    ({"program_address": 5 * HW.bus_bytes}, ErrorCode.NONE),
    ({"memory_base": 0x2004}, ErrorCode.ADDRESS),
    ({"memory_base": 0x2008}, ErrorCode.NONE),
    ({"program_address": TOP - 3 * DESCRIPTOR_BYTES}, ErrorCode.NONE),
    ({"program_address": TOP - 2 * DESCRIPTOR_BYTES}, ErrorCode.ADDRESS),
    ({"program_address": TOP}, ErrorCode.ADDRESS),
    ({"program_address": 1 << 63}, ErrorCode.ADDRESS),
    ({"memory_base": TOP - 4096}, ErrorCode.NONE),
    ({"memory_base": TOP - 4096 + HW.bus_bytes}, ErrorCode.ADDRESS),
    ({"memory_base": TOP - 4096, "memory_size": 4097}, ErrorCode.ADDRESS),
    ({"memory_base": TOP - 8, "memory_size": 0}, ErrorCode.NONE),
    ({"memory_base": TOP, "memory_size": 0}, ErrorCode.ADDRESS),
    ({"memory_base": 1 << 63}, ErrorCode.ADDRESS),
    ({"memory_base": 0, "memory_size": 0xFFFFFFFF}, ErrorCode.NONE),
]


@pytest.mark.parametrize(("settings", "code"), EDGES)
def test_settings_at_their_edges(settings: dict[str, int], code: ErrorCode) -> None:
    async def body(bench: Bench) -> None:
        bench.settle(**settings)
        await bench.tick(RunControl.SETTLE)
        await bench.tick(start=1)
        refused = code != ErrorCode.NONE
        assert (bench.seen["accepted"], bench.seen["failed"]) == (1, refused)
        assert (bench.now("busy"), bench.now("clear")) == (not refused, not refused)
        assert bench.error() == (code, 0)
        bench.settle()
        await bench.tick(3)
        await bench.tick(start=1)
        await bench.tick(2)
        assert bench.now("running"), "it, or a right start behind it, does not run"

    run(body)


def test_a_program_has_a_copy_of_the_settings() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        bench.settle(program_address=1, length=0, memory_base=3, memory_size=1, watchdog=1)
        await bench.tick(10, progress=1)
        await bench.tick(start=1)
        assert {name: bench.ctx.get(bench.dut.program.settings[name]) for name in RUN.members
                } == RIGHT
        assert (bench.seen["accepted"], bench.now("running")) == (1, 1)
        await bench.tick(ended=1)
        assert (bench.seen["finished"], bench.now("busy")) == (1, 0)
        assert (bench.seen["clear"], bench.seen["begin"]) == (1, 1)
        assert bench.error() == (ErrorCode.NONE, 0)

    run(body)


def test_an_error_is_reported_after_the_drain_and_one_clear() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.problem(ErrorCode.RANGE, 9)
        await bench.problem(ErrorCode.BUS, 5)
        await bench.tick(5, ended=1)
        await bench.tick(start=1)
        assert bench.seen["accepted"] == 1, "a start was taken before the end was reported"
        assert (bench.now("drain"), bench.now("busy"), bench.seen["failed"]) == (1, 1, 0)
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(2)
        assert (bench.seen["clear"], bench.seen["failed"], bench.seen["finished"]) == (2, 1, 0)
        assert (bench.now("drain"), bench.now("busy")) == (0, 0)
        assert bench.error() == (ErrorCode.RANGE, 9)
        await bench.start()
        assert bench.error() == (ErrorCode.NONE, 0)

    run(body)


@pytest.mark.parametrize("moves", [False, True])
def test_watchdog_ends_a_program_that_does_not_move(moves: bool) -> None:
    async def body(bench: Bench) -> None:
        bench.ctx.set(bench.dut.program.position, 7)
        await bench.start()
        for _ in range(3):
            await bench.tick(RIGHT["watchdog"], **({"progress": 1} if moves else {}))
        assert bench.seen["failed"] == (not moves)
        assert bench.now("running") == moves
        await bench.tick(RIGHT["watchdog"] + 1)
        assert bench.seen["failed"] == 1
        assert bench.error() == (ErrorCode.WATCHDOG, 7)
        assert (bench.now("draining"), bench.now("busy"), bench.seen["clear"]) == (1, 0, 1)

    run(body)


def test_without_a_watchdog_a_program_waits() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(200)
        assert bench.now("running")

    run(body, watchdog=0)


def test_the_watchdog_bounds_a_drain_and_a_start_that_waits_for_it() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.problem(ErrorCode.FIELD, 4)
        await bench.tick(RIGHT["watchdog"] - 5)
        assert bench.seen["failed"] == 0
        await bench.tick(5)
        assert bench.seen["failed"] == 1
        assert bench.error() == (ErrorCode.FIELD, 4)
        await bench.tick(start=1)
        assert (bench.now("busy"), bench.error()) == (1, (ErrorCode.NONE, 0))
        await bench.tick(RIGHT["watchdog"] + 2)
        assert (bench.seen["failed"], bench.now("busy")) == (2, 0)
        assert bench.error() == (ErrorCode.WATCHDOG, 0)
        await bench.tick(start=1)
        await bench.tick(3)
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(3)
        assert (bench.now("running"), bench.seen["clear"], bench.seen["begin"]) == (1, 2, 2)
        assert bench.seen["failed"] == 2

    run(body)


@pytest.mark.parametrize("when", ["idle", "running", "draining"])
def test_reset_reports_nothing_and_a_start_may_follow_at_once(when: str) -> None:
    async def body(bench: Bench) -> None:
        await bench.tick(RunControl.SETTLE)
        if when != "idle":
            await bench.start()
        if when == "draining":
            await bench.problem(ErrorCode.BUS, 3)
        ends = {"ended": 1} if when == "running" else {}
        await bench.tick(reset=1, **ends)
        assert (bench.now("drain"), bench.now("busy"), bench.error()) == (1, 0, (0, 0))
        await bench.tick(start=1)
        assert bench.now("busy")
        await bench.tick(5)
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(3)
        begun = 1 if when == "idle" else 2
        assert (bench.now("running"), bench.seen["clear"], bench.seen["begin"]) == (1, begun, begun)
        assert (bench.seen["finished"], bench.seen["failed"]) == (0, 0)

    run(body)


@pytest.mark.parametrize("delay", range(4))
def test_a_start_in_any_cycle_around_the_clear_runs_once(delay: int) -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(reset=1)
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(delay)
        await bench.tick(start=1)
        await bench.tick(4)
        assert (bench.now("running"), bench.seen["begin"]) == (1, 2)
        assert bench.seen["clear"] == (2 if delay < 2 else 3)

    run(body)


def test_a_start_that_is_refused_during_the_drain_does_not_end_it() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(reset=1)
        bench.settle(length=0)
        await bench.tick(RunControl.SETTLE)
        await bench.tick(start=1)
        assert (bench.seen["failed"], bench.now("busy"), bench.now("drain")) == (1, 0, 1)
        assert bench.error() == (ErrorCode.LENGTH, 0)

    run(body)


@pytest.mark.parametrize("watchdog", [1, 2, 20])
def test_watchdog_expires_behind_the_last_cycle_that_it_allows(watchdog: int) -> None:
    """It counts from the beginning, and anew when something moves."""
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(progress=1)
        await bench.tick(watchdog)
        assert bench.seen["failed"] == 0, "something has moved"
        await bench.tick()
        assert bench.seen["failed"] == 1
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(3)
        bench.ctx.set(bench.dut.bus.idle, 0)
        await bench.start()
        await bench.tick(watchdog)
        assert bench.seen["failed"] == 1, "the cycle in which it begins counts"
        await bench.tick()
        assert bench.seen["failed"] == 2

    run(body, watchdog=watchdog)


def test_watchdog_has_all_its_bits() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(50)
        assert bench.now("running")

    run(body, watchdog=1 << 31 | 4)


@pytest.mark.parametrize("event", ["problem", "ended", "reset", "reset before"])
def test_one_end_wins_in_the_cycle_in_which_the_watchdog_expires(event: str) -> None:
    """A reset over all; an error over the watchdog; the watchdog over a good end."""
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(RIGHT["watchdog"] - (event == "reset before"))
        if event == "problem":
            await bench.problem(ErrorCode.RANGE, 9)
        else:
            await bench.tick(**{event.split()[0]: 1})
        assert (bench.now("draining"), bench.now("drain")) == (1, 1)
        assert (bench.seen["finished"], bench.seen["failed"]) == (0, event == "ended")
        assert bench.error() == {"problem": (ErrorCode.RANGE, 9), "ended": (ErrorCode.WATCHDOG, 0)
                                 }.get(event, (ErrorCode.NONE, 0))
        assert bench.now("busy") == (event == "problem")
        await bench.tick(3)
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick()
        assert (bench.now("draining"), bench.now("drain"), bench.now("clear")) == (0, 1, 1)
        await bench.tick(2)
        assert (bench.seen["finished"], bench.seen["failed"]) == (0, event in {"problem", "ended"})

    run(body)


def test_an_error_wins_over_a_good_end() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        bench.ctx.set(bench.dut.program.ended, 1)
        await bench.problem(ErrorCode.BUS, 6)
        bench.ctx.set(bench.dut.program.ended, 0)
        assert (bench.seen["finished"], bench.now("draining"), bench.now("busy")) == (0, 1, 1)
        assert bench.error() == (ErrorCode.BUS, 6)

    run(body)


@pytest.mark.parametrize("drains", [False, True])
def test_a_start_waits_for_the_drain_as_long_as_the_watchdog_allows(drains: bool) -> None:
    """The watchdog counts from the start on; a drain that ends as it expires is in time."""
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(reset=1)
        await bench.tick(RIGHT["watchdog"] + 5)
        await bench.tick(start=1)
        await bench.tick(RIGHT["watchdog"])
        assert (bench.seen["failed"], bench.now("busy")) == (0, 1)
        bench.ctx.set(bench.dut.bus.idle, drains)
        await bench.tick()
        assert (bench.seen["failed"], bench.now("busy")) == (not drains, drains)
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(2)
        assert (bench.now("running"), bench.seen["failed"]) == (drains, not drains)
        assert bench.error() == (ErrorCode.NONE if drains else ErrorCode.WATCHDOG, 0)

    run(body)


def test_a_reset_takes_back_a_start_that_waits() -> None:
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(reset=1)
        await bench.tick(start=1)
        assert bench.now("busy")
        await bench.tick(reset=1)
        assert not bench.now("busy")
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(5)
        assert (bench.now("busy"), bench.seen["begin"], bench.seen["failed"]) == (0, 1, 0)

    run(body)


def test_a_reset_wins_over_a_start_of_the_same_cycle() -> None:
    async def body(bench: Bench) -> None:
        bench.ctx.set(bench.dut.bus.idle, 1)
        await bench.tick(RunControl.SETTLE)
        await bench.tick(start=1, reset=1)
        assert (bench.seen["accepted"], bench.now("drain")) == (0, 1)
        await bench.tick(5)
        assert (bench.seen["begin"], bench.now("busy"), bench.now("drain")) == (0, 0, 0)

    run(body)


def test_a_start_in_the_cycle_in_which_a_program_begins_is_ignored() -> None:
    async def body(bench: Bench) -> None:
        await bench.tick(RunControl.SETTLE)
        await bench.tick(start=1)
        await bench.tick()
        assert (bench.now("begin"), bench.now("busy")) == (1, 1)
        await bench.tick(start=1)
        assert (bench.seen["accepted"], bench.now("running")) == (1, 1)

    run(body)


def test_behind_a_good_end_a_program_may_start_at_once() -> None:
    """Nothing is drained, and nothing cleared but by the start."""
    async def body(bench: Bench) -> None:
        await bench.start()
        await bench.tick(ended=1)
        assert (bench.seen["finished"], bench.now("drain"), bench.now("clear")) == (1, 0, 0)
        await bench.tick(start=1)
        assert (bench.now("clear"), bench.seen["clear"]) == (1, 1)
        await bench.tick(2)
        assert bench.now("running")

    run(body)
