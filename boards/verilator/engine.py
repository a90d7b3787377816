"""Build the generated Verilog with Verilator once, and run programs on it."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import version
from pathlib import Path

import numpy as np

import deltamoe.golden.tables
from deltamoe import rtl
from deltamoe.boards.verilator.build import check_tools, verilate
from deltamoe.boards.verilator.probes import watched
from deltamoe.host import cache
from deltamoe.host.files import naming, read_text, write
from deltamoe.host.processes import ProgramError, reason, scratch
from deltamoe.host.processes import run as run_program
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS, WATCHDOG
from deltamoe.rtl.generate import to_verilog
from deltamoe.rtl.label import PROGRAM
from deltamoe.rtl.program import ErrorCode
from deltamoe.sim.report.spans import Span, Unit

HARNESS = Path(__file__).with_name("harness.cpp")
FLAGS = ("-O3", "--x-assign", "unique", "--x-initial", "unique", "--noassert", "-Wno-fatal",
         "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-Werror-ALWNEVER", "-CFLAGS", "-O2",
         "-MAKEFLAGS", "OPT_FAST=-O2")
NOWHERE = 2**64 - 1
"""An address that no program has."""


@dataclass(frozen=True)
class RunResult:
    """What a run left behind: memory, counters, how it ended; spans of work, if asked for."""

    memory: np.ndarray
    counters: dict[str, int]
    error: ErrorCode
    error_index: int
    finished: bool
    seconds: float
    spans: tuple[Span, ...] = ()


def sources_key(hw: HwConfig) -> str:
    """Return a digest of all that the Verilog of ``hw`` depends on."""
    sources = sorted(Path(rtl.__file__).parent.rglob("*.py"))
    tables = Path(deltamoe.golden.tables.__file__).with_name("tables.json")
    parts = [repr(hw), version("amaranth"), read_text(tables), *map(read_text, sources)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def verilog(hw: HwConfig) -> str:
    """Return the Verilog of ``hw``, kept for equal sources: large ones take a minute to make."""
    key = sources_key(hw)
    path = cache.folder() / f"{hw.name}-{key}.v"
    if not path.exists():
        with cache.locked(key):
            if not path.exists():
                write(path, to_verilog(Accelerator(hw), "deltamoe"))
    return read_text(path)


def model_of(hw: HwConfig) -> tuple[Path, dict[str, str], list[str]]:
    """Return where the simulator of ``hw`` belongs, its sources by name, and Verilator's flags."""
    text, header = watched(verilog(hw), hw)
    files = {"deltamoe.v": text, "probes.h": header, "harness.cpp": read_text(HARNESS)}
    defines = {f"REG_{name.upper()}": register.offset for name, register in REGISTERS.items()}
    defines |= {"REG_COUNTERS": COUNTERS_OFFSET, "PORT_BYTES": hw.port_bytes,
                "PORT_COUNT": hw.memory_ports, "BLOCK_BYTES": hw.block_bytes}
    flags = [*FLAGS, *(word for name, value in defines.items()
                       for word in ("-CFLAGS", f"-D{name}={value}"))]
    key = hashlib.sha256("\0".join([*files.values(), *flags]).encode()).hexdigest()[:24]
    return cache.folder() / f"{hw.name}-{key}", files, flags


def check_buildable(hw: HwConfig) -> None:
    """Find out, before any work, whether there is a simulator of ``hw`` or one can be built.

    Raises
    ------
    ValueError
        There is none, and the cache cannot be written to or a tool is missing.
    """
    if (cache.folder() / f"{hw.name}-{sources_key(hw)}.v").exists() and model_of(hw)[0].exists():
        return
    cache.check_writable()
    check_tools()


@once
def build(hw: HwConfig) -> Path:
    """Return the simulator of ``hw``, built unless the cache has it.

    Raises
    ------
    ValueError
        As :func:`check_buildable`.
    ProgramError
        Verilator or the C++ compiler failed.
    """
    check_buildable(hw)
    binary, files, flags = model_of(hw)
    if not binary.exists():
        with cache.locked(binary.name), scratch() as folder:
            if not binary.exists():
                write(binary, verilate(folder, files, ["--top-module", "deltamoe", *flags]),
                      mode=0o777)
    return binary


def run(program: Program, memory: np.ndarray, *, latency: int = 20, interval: int = 1,
        stall_seed: int = 0, max_cycles: int = 50_000_000, length: int | None = None,
        watchdog: int = WATCHDOG, fail_address: int = NOWHERE, power_up_seed: int = 0,
        spans: bool = False) -> RunResult:
    """Run ``program`` on the Verilog of its hardware, with ``memory`` at address 0.

    ``latency`` and ``interval`` are those of :class:`deltamoe.sim.memory.MemoryModel`. What has no
    initial value, such as block memory, starts with zeros, or at random with a ``power_up_seed``.
    With ``spans``, the result says what each unit did when.
    """
    binary = build(program.hw)
    began = time.perf_counter()
    with scratch() as folder:
        before, memory_after, seen = (folder / part for part in ("in", "out", "spans"))
        with naming(before):
            before.write_bytes(memory.tobytes())
        command = [str(binary), str(before), str(memory_after), str(program.start),
                   str(len(program.descriptors) if length is None else length), str(program.size),
                   str(latency), str(stall_seed), str(max_cycles), str(len(COUNTERS)),
                   str(interval), str(watchdog), str(fail_address), str(power_up_seed)]
        if spans:
            command.append(str(seen))
        done = run_program(command)
        if done.returncode:
            raise ProgramError(f"the simulator {binary} failed: {reason(done)}")
        after = np.fromfile(memory_after, np.uint8)
        watched_spans = tuple(read_spans(seen, program)) if spans else ()
    ended, status, code, index, _, *counters = (int(word) for word in done.stdout.split())
    if not ended:
        raise RuntimeError(f"the accelerator did not finish within {max_cycles} cycles")
    return RunResult(after, dict(zip(COUNTERS, counters, strict=True)), ErrorCode(code), index,
                     bool(status & 2), time.perf_counter() - began, watched_spans)


def read_spans(path: Path, program: Program) -> Iterator[Span]:
    """Yield the spans of a file that the harness wrote."""
    for line in read_text(path).splitlines():
        kind, number, descriptor, start, end = line.split(",")
        unit = Unit(kind, int(number) if number else None)
        label = PROGRAM if descriptor == "-1" else program.labels[int(descriptor)]
        yield Span((unit,), label, int(start), int(end))
