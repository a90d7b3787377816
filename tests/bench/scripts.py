"""Random scripts for ``faults.cpp``: something goes wrong, and then a right program runs.

A case is a few episodes and the right program. An episode starts programs, breaks something, and
says what must be seen; it leaves the accelerator free to take a start, which may have to wait for
the drain. Only the cases' numbers and the seed decide what is in them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import (
    COUNTERS_OFFSET,
    MAGIC,
    REGISTERS,
    VERSION,
    WATCHDOG,
    Access,
)
from deltamoe.rtl.program import Attention, ErrorCode, Linear, Load, Store, Target
from tests.bench.workloads import PAGE, Workload

START, RESET = 1, 2
BUSY, DONE, ERROR, DRAINING = (1 << bit for bit in range(4))
STATUS = BUSY | DONE | ERROR | DRAINING
ENDED = 1
"""Bit of the interrupt's status and enable."""
ALL = 0xFFFFFFFF
SPACE = 1 << 40
CHANNELS = ("ar", "r", "aw", "w", "b")
IMPATIENCE = 400
"""A watchdog longer than any silence of a right program here."""
LONG = 200_000
READABLE = {*range(COUNTERS_OFFSET, COUNTERS_OFFSET + 8 * len(COUNTERS), 4),
            *(register.offset for register in REGISTERS.values() if register.access.readable)}
WRITABLE = [name for name, register in REGISTERS.items() if register.access is Access.BOTH]


@dataclass
class Script:
    """Lines of a case, and the files that they name."""

    folder: Path
    number: int
    lines: list[str] = field(default_factory=list)
    files: int = 0

    def add(self, command: str, *values: int | str) -> None:
        """Append a command."""
        self.lines.append(" ".join([command, *(
            hex(value) if isinstance(value, int | np.integer) else value for value in values)]))

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.add("write", REGISTERS[name].offset, value)

    def read(self, name: str, *values: int, mask: int = ALL) -> None:
        """Read a register, which must have one of the values."""
        self.add("read", REGISTERS[name].offset, mask, *values)

    def file(self, content: bytes) -> str:
        """Put content into a file for ``poke`` and ``compare``."""
        path = self.folder / f"case-{self.number}-{self.files}"
        path.write_bytes(content)
        self.files += 1
        return str(path)


@dataclass
class Writer:
    """Write cases for one hardware; ``fresh`` has the counters of each program after power-up."""

    hw: HwConfig
    workloads: list[Workload]
    folder: Path
    fresh: dict[str, list[int]] = field(default_factory=dict)
    windows: list[range] = field(default_factory=list)

    def reference(self, load: Workload) -> list[str]:
        """Return a script that runs a program after power-up and prints its counters."""
        script = self.begin(-1 - self.workloads.index(load), 0)
        self.run(script, load, 0)
        script.add("counters")
        return script.lines

    def begin(self, number: int, seed: int) -> Script:
        """Return an empty case."""
        self.rng, self.windows = np.random.default_rng([seed, abs(number)]), []
        script = Script(self.folder, number)
        script.lines.append(f"case {number} {self.rng.integers(1 << 62)}")
        return script

    def case(self, number: int, seed: int) -> list[str]:
        """Return a random case."""
        script = self.begin(number, seed)
        episodes = sorted(self.episodes())
        count = int(self.rng.integers(1, 4))
        for place in range(count):
            name = episodes[self.rng.integers(len(episodes))]
            script.lines.append(f"# {name}")
            self.episodes()[name](script)
            if place < count - 1:
                script.add("calm")
        script.lines.append("# the right program")
        self.finish(script)
        return script.lines

    def episodes(self) -> dict[str, Callable[[Script], None]]:
        """Return what can happen."""
        return {name.removeprefix("when_"): getattr(self, name) for name in dir(self)
                if name.startswith("when_")}

    # Pieces of episodes.

    def draw(self, *names: str) -> Workload:
        """Return a program, the large ones seldom."""
        loads = [load for load in self.workloads if not names or load.name.startswith(names)]
        odds = np.array([0.1 if load.name == "digits" else 1 for load in loads])
        return loads[self.rng.choice(len(loads), p=odds / odds.sum())]

    def base(self, load: Workload) -> int:
        """Return a place for a window, now and then the last one before the end of memory.

        No other window of the case overlaps it: a beat that was offered before a reset may be
        written after it, until the drain has ended.
        """
        while True:
            base = PAGE * int(self.rng.integers(0, 64 if self.rng.random() < 0.7 else 1 << 26))
            if self.rng.random() < 0.2:
                base = SPACE - load.size
            window = range(base, base + load.size)
            if all(window.stop <= used.start or used.stop <= base for used in self.windows):
                self.windows.append(window)
                return base

    def settings(self, load: Workload, base: int, **changed: int) -> dict[str, int]:
        """Return the registers that a start of a program takes."""
        return {"program_low": base & ALL, "program_high": base >> 32,
                "program_length": len(load.descriptors), "memory_low": base & ALL,
                "memory_high": base >> 32, "memory_size": load.size, "watchdog": WATCHDOG,
                "interrupt_enable": ENDED} | changed

    def start(self, script: Script, load: Workload, base: int, content: bytes | None = None,
              **changed: int) -> None:
        """Put a program into memory, write the registers in any order, and start it."""
        script.add("poke", base, script.file(load.before if content is None else content))
        self.configure(script, self.settings(load, base, **changed))
        script.write("control", START)

    def configure(self, script: Script, settings: dict[str, int]) -> None:
        """Write registers in random order."""
        for name in self.rng.permutation(sorted(settings)):
            script.write(str(name), settings[str(name)])

    def finish(self, script: Script) -> None:
        """Run a right program and compare everything, after one that memory may keep waiting."""
        load = self.draw()
        if self.rng.random() < 0.5:
            base = self.base(load)
            self.start(script, load, base)
            script.add("wait", self.rng.integers(300))
            script.add("calm")
            self.succeeds(script, load, base)
        script.add("calm")
        self.run(script, load, self.base(load))
        script.add("counters", *self.fresh[load.name])

    def run(self, script: Script, load: Workload, base: int) -> None:
        """Run a program with nothing going wrong."""
        self.start(script, load, base)
        self.succeeds(script, load, base)

    def succeeds(self, script: Script, load: Workload, base: int) -> None:
        """Expect the right end of a program."""
        script.add("await", LONG)
        script.read("status", DONE)
        script.read("interrupt_status", ENDED)
        script.read("error_code", ErrorCode.NONE)
        script.read("error_index", 0)
        script.add("compare", base, script.file(load.after))
        script.add("settled", 0x100)

    def fails(self, script: Script, code: ErrorCode, *index: int, status: int = STATUS) -> None:
        """Expect an error, at one of these descriptors if any are named."""
        script.add("await", LONG)
        script.read("status", ERROR, mask=status)
        script.read("interrupt_status", ENDED)
        script.read("error_code", code)
        if index:
            script.read("error_index", *index)

    def stall(self, script: Script) -> None:
        """Pause on random channels, and let writes begin with the address, the data or both."""
        script.add("order", self.rng.integers(4))
        for channel in CHANNELS:
            if self.rng.random() < 0.5:
                script.add("stall", channel, self.rng.choice([30, 128, 230]))

    def leave(self, script: Script) -> None:
        """What a driver may do after an end, or not."""
        script.add("calm")
        choice = self.rng.integers(4)
        if choice == 0:
            self.resets(script)
        elif choice == 1:
            script.write("interrupt_status", ENDED)
        elif choice == 2:
            script.add("settled", 0x4000)

    def resets(self, script: Script, command: int = RESET, **settings: int) -> None:
        """Reset; then everything is as after power-up but the writable registers."""
        kept = {name: int(self.rng.integers(1 << 32)) for name in WRITABLE}
        kept["interrupt_enable"] = int(self.rng.integers(2))
        kept |= settings
        self.configure(script, kept)
        script.write("control", command)
        if self.rng.random() < 0.5:
            return
        script.add("wait", 8)
        script.add("quiet", self.rng.integers(20))
        script.read("status", 0, DRAINING)
        script.read("interrupt_status", 0)
        script.add("calm")
        script.add("settled", 0x4000)
        script.read("status", 0)
        script.read("error_code", ErrorCode.NONE)
        script.read("error_index", 0)
        script.add("counters", *[0] * len(COUNTERS))
        for name, value in kept.items():
            script.read(name, value)

    # Episodes.

    def when_settings_are_bad(self, script: Script) -> None:
        """A start is refused at once, and nothing reaches the bus."""
        load = self.draw()
        base, bit = self.base(load), 1 << int(self.rng.integers(8, 32))
        step = self.hw.bus_bytes
        off, above = int(self.rng.integers(1, step)), step * int(self.rng.integers(1, 8))
        code, changed = [
            (ErrorCode.LENGTH, {"program_length": 0}),
            (ErrorCode.LENGTH, {"program_length": 1 << int(self.rng.integers(16, 32))}),
            (ErrorCode.ADDRESS, {"program_low": (base | off) & ALL}),
            (ErrorCode.ADDRESS, {"memory_low": (base | off) & ALL}),
            (ErrorCode.ADDRESS, {"program_high": (base >> 32) | bit}),
            (ErrorCode.ADDRESS, {"memory_high": (base >> 32) | bit}),
            (ErrorCode.ADDRESS, {"memory_high": 0xFF,
                                 "memory_low": (SPACE - load.size + above) & ALL}),
            (ErrorCode.ADDRESS, {"program_high": 0xFF, "program_low": (
                SPACE - 64 * len(load.descriptors) + above) & ALL}),
            (ErrorCode.ADDRESS, {"memory_high": 0xFF, "memory_low": 0x8000_0000,
                                 "memory_size": 0x8000_0000 + off}),
        ][self.rng.integers(9)]
        self.start(script, load, base, **changed)
        self.fails(script, code, 0, status=STATUS & ~DRAINING)
        script.add("wait", 50)
        self.leave(script)

    def when_a_descriptor_is_bad(self, script: Script) -> None:
        """The error is that of the descriptor."""
        load = self.draw("network", "copies")
        kinds = [(ErrorCode.OPCODE, (Linear, Store), {"opcode": 0}),
                 (ErrorCode.OPCODE, (Linear, Store), {"opcode": 15}),
                 (ErrorCode.FIELD, (Linear,), {"depth": 0}),
                 (ErrorCode.FIELD, (Attention,), {"heads": 0}),
                 (ErrorCode.FIELD, (Load,), {"target": 9}),
                 (ErrorCode.FIELD, (Store,), {"target": Target.WEIGHTS}),
                 (ErrorCode.RANGE, (Linear,), {"param_base": self.hw.param_words}),
                 (ErrorCode.RANGE, (Store,), {"base": 0xFFFF}),
                 (ErrorCode.ADDRESS, (Load, Store), {"address": 1}),
                 (ErrorCode.ADDRESS, (Load, Store), {"address": 0xFFFF_FFF8}),
                 (ErrorCode.ADDRESS, (Load, Store), {"address": load.size - 8}),
                 (ErrorCode.DEADLOCK, (Linear, Store), {"wait_loads": 0xFFFF})]
        found = [(code, index, fields) for code, types, fields in kinds
                 for index, descriptor in enumerate(load.descriptors)
                 if isinstance(descriptor, types)
                 and not (fields.get("address") == load.size - 8 and descriptor.beats == 1)]
        code, index, fields = found[self.rng.integers(len(found))]
        base = self.base(load)
        self.stall(script)
        self.start(script, load, base, load.broken(index, **fields))
        self.fails(script, code, index)
        self.leave(script)

    def when_the_program_has_no_end(self, script: Script) -> None:
        """``HALT`` lies beyond the length."""
        load = self.draw("network", "copies")
        self.stall(script)
        self.start(script, load, self.base(load), program_length=len(load.descriptors) - 1)
        self.fails(script, ErrorCode.LENGTH, len(load.descriptors) - 1)
        self.leave(script)

    def when_a_read_is_answered_with_an_error(self, script: Script) -> None:
        """SLVERR, DECERR, or RLAST in a wrong place, at the load that it belongs to."""
        script.add("settled", 0x4000)
        load = self.draw()
        beat = int(self.rng.integers(len(load.reads)))
        self.stall(script)
        if self.rng.random() < 0.6:
            script.add("answer", "r", beat, self.rng.choice([2, 3]))
        else:
            script.add("flip", beat)
        self.start(script, load, self.base(load))
        self.fails(script, ErrorCode.BUS, load.reads[beat])
        self.leave(script)

    def when_a_write_is_answered_with_an_error(self, script: Script) -> None:
        """SLVERR or DECERR, at the store that the burst belongs to."""
        script.add("settled", 0x4000)
        load = self.draw("network", "copies")
        burst = int(self.rng.integers(len(load.writes)))
        self.stall(script)
        script.add("answer", "b", burst, self.rng.choice([2, 3]))
        self.start(script, load, self.base(load))
        self.fails(script, ErrorCode.BUS, load.writes[burst])
        self.leave(script)

    def silence(self, script: Script, load: Workload, cycles: int) -> str:
        """Let a channel stop after some of its transfers; return which."""
        counts = {"r": len(load.reads), "w": load.stored,
                  "aw": len(load.writes), "b": len(load.writes),
                  "ar": len(load.reads) // self.hw.burst_beats}
        channel = str(self.rng.choice(sorted(name for name in counts if counts[name])))
        script.add("order", self.rng.integers(4))
        script.add("silent", channel, self.rng.integers(counts[channel]), cycles)
        return channel

    def when_the_memory_stops(self, script: Script) -> None:
        """The watchdog reports at once; the drain lasts until the memory answers, if it does."""
        load = self.draw("network", "copies")
        self.silence(script, load, 0)
        self.start(script, load, self.base(load), watchdog=IMPATIENCE)
        self.fails(script, ErrorCode.WATCHDOG, status=STATUS & ~DRAINING)
        script.read("status", ERROR | DRAINING)
        if self.rng.random() < 0.4:
            self.waits_in_vain(script)
        choice = self.rng.integers(4)
        if choice == 0:
            script.write("control", RESET)
            script.add("wait", self.rng.integers(200))
        elif choice == 1:
            script.add("calm")
            script.add("settled", 0x4000)
            script.read("error_code", ErrorCode.WATCHDOG)
        elif choice == 2:
            self.resets(script)

    def waits_in_vain(self, script: Script) -> None:
        """A start waits for the drain no longer than the watchdog lets it."""
        load = self.draw("halt")
        self.start(script, load, self.base(load), watchdog=100)
        script.read("status", BUSY | DRAINING)
        self.fails(script, ErrorCode.WATCHDOG, 0, status=STATUS & ~DRAINING)
        script.read("status", ERROR | DRAINING)

    def when_the_memory_answers_late(self, script: Script) -> None:
        """Before the watchdog, after it, or about then."""
        load = self.draw("network", "copies")
        cycles = int(self.rng.choice([IMPATIENCE // 2, IMPATIENCE - 9, IMPATIENCE + 9, 2000]))
        self.silence(script, load, cycles + int(self.rng.integers(30)))
        self.start(script, load, self.base(load), watchdog=IMPATIENCE)
        script.add("await", LONG)
        script.read("error_code", ErrorCode.NONE, ErrorCode.WATCHDOG)
        script.add("settled", 0x4000)
        script.read("status", DONE, ERROR)
        script.read("interrupt_status", ENDED)
        self.leave(script)

    def when_two_things_go_wrong(self, script: Script) -> None:
        """The first is reported; which is first is not known."""
        load = self.draw("network", "copies")
        self.stall(script)
        self.silence(script, load, int(self.rng.integers(2)) * 3000)
        script.add("answer", "r", self.rng.integers(len(load.reads)), 2)
        script.add("answer", "b", self.rng.integers(len(load.writes)), 3)
        index = int(self.rng.integers(len(load.descriptors) - 1))
        self.start(script, load, self.base(load), load.broken(index, opcode=15),
                   watchdog=IMPATIENCE)
        script.add("await", LONG)
        script.read("status", ERROR, mask=ERROR | BUSY | DONE)
        script.read("error_code", ErrorCode.BUS, ErrorCode.OPCODE, ErrorCode.WATCHDOG)
        self.leave(script)

    def when_reset_while_running(self, script: Script) -> None:
        """At any time of a program, with a memory that answers, pauses or is silent."""
        load = self.draw()
        if self.rng.random() < 0.5:
            self.stall(script)
        if load.writes and self.rng.random() < 0.5:
            self.silence(script, load, 0)
        self.start(script, load, self.base(load))
        script.add("wait", self.rng.integers(1, self.cycles(load) * 5 // 4))
        self.resets(script)

    def when_start_and_reset_are_one_write(self, script: Script) -> None:
        """The reset wins, whether a program runs or not, and the start is forgotten."""
        if self.rng.random() < 0.5:
            running = self.draw()
            self.stall(script)
            self.start(script, running, self.base(running))
            script.add("wait", self.rng.integers(1, self.cycles(running) * 5 // 4))
        load = self.draw()
        base = self.base(load)
        script.add("poke", base, script.file(load.before))
        self.resets(script, START | RESET, **self.settings(load, base))

    def cycles(self, load: Workload) -> int:
        """Return how long a program takes after power-up."""
        return self.fresh[load.name][list(COUNTERS).index("cycles")]

    def when_started_while_busy(self, script: Script) -> None:
        """Neither a start nor registers that change disturb a program that runs."""
        load, other = self.draw("network", "digits"), self.draw()
        base = self.base(load)
        self.start(script, load, base)
        script.add("wait", self.rng.integers(1, self.cycles(load) - 500))
        for _ in range(self.rng.integers(1, 3)):
            if self.rng.random() < 0.5:
                changed = self.settings(other, self.base(other), watchdog=1)
            else:
                changed = {name: int(self.rng.integers(1 << 32)) for name in WRITABLE}
            self.configure(script, changed)
            script.write("control", START)
        script.write("interrupt_enable", ENDED)
        self.succeeds(script, load, base)
        script.add("counters", *self.fresh[load.name])

    def when_aresetn_falls(self, script: Script) -> None:
        """Everything is as after power-up."""
        load = self.draw()
        self.stall(script)
        self.start(script, load, self.base(load))
        script.add("wait", self.rng.integers(1, self.cycles(load) * 5 // 4))
        script.add("aresetn", self.rng.integers(1, 5))
        script.add("calm")
        script.read("status", 0)
        script.read("interrupt_status", 0)
        script.read("error_code", ErrorCode.NONE)
        script.read("error_index", 0)
        script.add("counters", *[0] * len(COUNTERS))
        for name in WRITABLE:
            script.read(name, WATCHDOG if name == "watchdog" else 0)

    def when_the_interrupt_is_cleared(self, script: Script) -> None:
        """Around the end: a clear takes the ends of earlier cycles, and no other."""
        load = self.draw("halt", "copies")
        script.add("settled", 0x4000)
        for number in range(int(self.rng.integers(2, 5))):
            self.start(script, load, self.base(load))
            if number:
                script.add("wait", max(0, self.cycles(load) + self.rng.integers(-16, 6)))
                script.write("interrupt_status", ENDED)
                script.add("settled", LONG)
            else:
                script.add("await", LONG)
                script.write("interrupt_status", ENDED)
            script.add("wait", 8)
            script.add("cleared")
            script.read("status", DONE)

    def when_registers_do_not_exist(self, script: Script) -> None:
        """They read as 0, and writes to them and to constants are ignored."""
        load = self.draw("network", "halt")
        runs = self.rng.random() < 0.5
        base = self.base(load)
        if runs:
            self.start(script, load, base)
        forbidden = {REGISTERS[name].offset for name in (*WRITABLE, "control", "interrupt_status")}
        for offset in 4 * self.rng.integers(0, 1024, 12):
            if offset not in forbidden:
                script.add("write", offset, self.rng.integers(1 << 32), self.rng.integers(16))
            if offset not in READABLE:
                script.add("read", offset, ALL, 0)
        script.write("error_code", 5)
        script.read("control", 0)
        script.read("magic", MAGIC)
        script.write("version", 7)
        script.read("version", VERSION)
        if runs:
            self.succeeds(script, load, base)
            script.add("counters", *self.fresh[load.name])
