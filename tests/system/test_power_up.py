"""What registers and memories hold at power-up changes no bit and no counter.

Verilator draws it at random; Icarus Verilog has it unknown, which no comparison can hide.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.golden.data.images import digits
from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.library import find
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS
from deltamoe.rtl.program import ErrorCode
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from tests.system.networks import HARDWARE, make

NANO = PRESETS["nano"]
BENCH = Path(__file__).parents[1] / "bench" / "four_state.v"
DONE = REGISTERS["status"].mask("done")
"""Neither busy nor failed."""


SEED = 702
"""A random network of 3 blocks, experts and class scores that takes few cycles."""


@dataclass(frozen=True)
class Case:
    """A program, the memory before it, what it makes of it, and its counters as predicted."""

    program: NetworkProgram
    memory: np.ndarray
    trace: Trace
    counters: dict[str, int]

    def compare(self, after: np.ndarray, counters: dict[str, int]) -> None:
        """Compare every bit of the memory and every counter."""
        program = self.program
        for output, wanted in zip(program.outputs(after), (self.trace.x, self.trace.scores),
                                  strict=True):
            np.testing.assert_array_equal(output, wanted)
        start = program.outputs_at[0]
        outputs = slice(start, start + program.output_beats * program.hw.bus_bytes)
        before = self.memory.copy()
        before[outputs] = after[outputs]
        np.testing.assert_array_equal(after, before)
        assert counters == self.counters


def random_case(seed: int) -> Case:
    return make_case(*make(seed, NANO, "free"))


def digit(hw: HwConfig = NANO) -> Case:
    return make_case(find("digits").quantized, digits("test")[0][0], 0, hw)


def make_case(model: QuantizedModel, image: Tensor, task: int, hw: HwConfig = NANO) -> Case:
    program, trace = compile_program(model, hw, task), infer(model, image, task)
    counters = simulate(program, from_trace(trace, program.config)).counters
    return Case(program, program.with_image(image.numpy()), trace, counters)


@pytest.mark.verilator
@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_random_power_up(count: int, seed: int) -> None:
    for case in (random_case(SEED), digit(), digit(HARDWARE["ports"])):
        for number in range(count):
            result = engine.run(case.program, case.memory, power_up_seed=1 + 100 * seed + number)
            assert result.error == ErrorCode.NONE
            case.compare(result.memory, result.counters)


def run_icarus(case: Case, standard: str, folder: Path) -> tuple[np.ndarray, dict[str, int]]:
    """Run a program in Icarus Verilog; return the memory and the counters behind it."""
    hw, program = case.program.hw, case.program
    words = case.memory.reshape(-1, hw.bus_bytes)[:, ::-1]
    (folder / "before.hex").write_text("".join(f"{word.tobytes().hex()}\n" for word in words))
    (folder / "deltamoe.v").write_text(engine.verilog(hw))
    defines = {f"REG_{name.upper()}": register.offset for name, register in REGISTERS.items()}
    defines |= {"REG_COUNTERS": COUNTERS_OFFSET, "COUNTERS": len(COUNTERS),
                "BUS_BYTES": hw.bus_bytes, "MEMORY_WORDS": len(words)}
    subprocess.run(["iverilog", f"-g{standard}", "-s", "four_state", "-o", "four_state",
                    *(f"-D{name}={value}" for name, value in defines.items()), BENCH,
                    "deltamoe.v"], cwd=folder, check=True)
    said = subprocess.run(
        ["vvp", "-n", "four_state", "+before=before.hex", "+after=after.hex",
         f"+length={len(program.descriptors)}", f"+size={program.size}",
         f"+latency={MemoryModel().latency}", f"+cycles={2 * case.counters['cycles'] + 1000}"],
        cwd=folder, check=True, capture_output=True, text=True).stdout
    assert said.startswith("registers "), said
    registers = [int(word, 16) for word in said.split()[1:]]  # fails on an x
    assert registers[:2] == [DONE, ErrorCode.NONE]
    halves = registers[3:]
    counters = [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
    after = [bytes.fromhex(line)[::-1] for line in (folder / "after.hex").read_text().split("\n")
             if not line.startswith("//")]  # fails on an x
    return np.frombuffer(b"".join(after), np.uint8), dict(zip(COUNTERS, counters, strict=True))


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
@pytest.mark.parametrize(("name", "standard"), [
    ("random", "2005"), pytest.param("random", "2012", marks=pytest.mark.slow),
    pytest.param("digit", "2005", marks=pytest.mark.slow),
    pytest.param("digit", "2012", marks=pytest.mark.slow)])
def test_four_states(name: str, standard: str, tmp_path: Path) -> None:
    case = digit() if name == "digit" else random_case(SEED)
    case.compare(*run_icarus(case, standard, tmp_path))
