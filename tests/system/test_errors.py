"""Bad programs and a failing memory stop the accelerator cleanly, with a code and an index."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.golden.library import default_image, find
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.program import DESCRIPTOR_BYTES, ErrorCode, Mode, Opcode, Target, pack

HW = PRESETS["nano"]


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_program(find("digits").quantized, HW)


def broken(program: Program, index: int, **fields: int) -> np.ndarray:
    """Return the memory with some fields of one descriptor replaced."""
    memory = program.with_image(default_image(program.config).numpy())
    raw = pack({**program.descriptors[index], **fields})
    memory[index * DESCRIPTOR_BYTES : (index + 1) * DESCRIPTOR_BYTES] = np.frombuffer(raw, np.uint8)
    return memory


def first(program: Program, opcode: Opcode, **fields: int) -> int:
    """Return the index of the first descriptor like this."""
    return next(index for index, given in enumerate(program.descriptors)
                if given["opcode"] == opcode
                and all(given.get(name) == value for name, value in fields.items()))


CASES = [
    (ErrorCode.OPCODE, Opcode.LINEAR, {"opcode": 0}),
    (ErrorCode.OPCODE, Opcode.LINEAR, {"opcode": 15}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"depth": 0}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"depth": HW.max_depth + 1}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"rows": 0}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"rows": HW.max_tokens + 1}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"columns": 5}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"gang": len(HW.gangs)}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"split": 7}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"gang": 0, "split": 0, "span": 1}),
    (ErrorCode.FIELD, Opcode.ATTENTION, {"set_size": len(HW.gangs)}),
    (ErrorCode.FIELD, Opcode.ATTENTION, {"spread": 3}),
    (ErrorCode.FIELD, Opcode.LOAD, {"span": len(HW.gangs)}),
    (ErrorCode.FIELD, Opcode.LINEAR, {"dest": 10}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"mode": Mode.DELTA, "gather": 1}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"mode": Mode.DELTA, "scatter": 1, "top_k": 2, "places": 1}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"mode": Mode.DELTA, "scatter": 1,
                                      "places": HW.state_words + 1}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"mode": Mode.DENSE, "stores": 1, "gather": 1}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"mode": Mode.DELTA, "state_base": HW.state_words}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"mode": Mode.DELTA, "reference_base": HW.reference_words}),
    (ErrorCode.FIELD, Opcode.ATTENTION, {"heads": 0}),
    (ErrorCode.FIELD, Opcode.ATTENTION, {"gather": 1}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"weight_base": HW.weight_rows - 1}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"param_base": HW.param_words}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"source_stride": 0xFFFF}),
    (ErrorCode.RANGE, Opcode.LINEAR, {"dest_base": HW.residual_words}),
    (ErrorCode.RANGE, Opcode.ATTENTION, {"norm_base": HW.kv_rows}),
    (ErrorCode.RANGE, Opcode.STORE, {"norm_source": HW.residual_words}),
    (ErrorCode.RANGE, Opcode.LOAD, {"dest_base": HW.act_words}),
    (ErrorCode.FIELD, Opcode.LOAD, {"target": 9}),
    (ErrorCode.FIELD, Opcode.LOAD, {"target": Target.STATE, "beats": 3}),
    (ErrorCode.RANGE, Opcode.LOAD, {"target": Target.STATE, "beats": 4,
                                    "dest_base": HW.state_words - 1}),
    (ErrorCode.RANGE, Opcode.LOAD, {"target": Target.REFERENCE, "beats": 1,
                                    "dest_base": HW.reference_words - 1}),
    (ErrorCode.FIELD, Opcode.STORE, {"target": Target.WEIGHTS}),
    (ErrorCode.FIELD, Opcode.STORE, {"target": Target.STATE, "beats": 3}),
    (ErrorCode.RANGE, Opcode.STORE, {"target": Target.STATE, "beats": 4,
                                     "norm_source": HW.state_words - 1}),
    (ErrorCode.RANGE, Opcode.STORE, {"target": Target.REFERENCE, "beats": 1,
                                     "norm_source": HW.reference_words - 1}),
    (ErrorCode.ADDRESS, Opcode.LOAD, {"address": 1}),
    (ErrorCode.ADDRESS, Opcode.LOAD, {"address": 0xFFFFFFF8}),
    (ErrorCode.ADDRESS, Opcode.STORE, {"beats": 0}),
    (ErrorCode.DEADLOCK, Opcode.LINEAR, {"wait_loads": 0xFFFF}),
]


@pytest.mark.verilator
@pytest.mark.parametrize(("code", "opcode", "fields"), CASES)
def test_bad_descriptor(program: Program, code: ErrorCode, opcode: Opcode, fields) -> None:
    index = first(program, opcode)
    result = engine.run(program, broken(program, index, **fields), max_cycles=100_000)
    assert (result.error, result.error_index, result.finished) == (code, index, False)


@pytest.mark.verilator
def test_a_piece_of_the_program_that_is_missing(program: Program) -> None:
    """Both walkers wait for descriptors that nothing loads."""
    index = first(program, Opcode.LOAD, target=Target.PROGRAM)
    memory = broken(program, index, rows=1, beats=DESCRIPTOR_BYTES // HW.bus_bytes)
    result = engine.run(program, memory, max_cycles=100_000)
    assert (result.error, result.error_index) == (ErrorCode.DEADLOCK, HW.piece + 1)


@pytest.mark.verilator
@pytest.mark.parametrize("count", ["wait_computes", "wait_loads"])
def test_loads_that_never_start(program: Program, count: str) -> None:
    """They wait for operators or transfers; who waits for them is reported."""
    memory = broken(program, first(program, Opcode.LOAD), **{count: 0xFFFF})
    result = engine.run(program, memory, max_cycles=100_000)
    assert (result.error, result.error_index) == (ErrorCode.DEADLOCK,
                                                  first(program, Opcode.LINEAR))


@pytest.mark.verilator
def test_program_without_halt(program: Program) -> None:
    count = len(program.descriptors) - 1
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, max_cycles=100_000, length=count)
    assert (result.error, result.error_index) == (ErrorCode.LENGTH, count)


@pytest.mark.verilator
@pytest.mark.parametrize("length", [0, HW.program_depth + 1])
def test_program_length(program: Program, length: int) -> None:
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, max_cycles=100_000, length=length)
    assert (result.error, result.finished) == (ErrorCode.LENGTH, False)


@pytest.mark.verilator
@pytest.mark.parametrize("where", ["weights", "store", "program"])
def test_bus_error(program: Program, where: str) -> None:
    index = {"weights": first(program, Opcode.LOAD, target=Target.WEIGHTS),
             "store": first(program, Opcode.STORE), "program": 0}[where]
    address = 64 if where == "program" else program.descriptors[index]["address"] + 8
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, max_cycles=100_000, fail_address=address)
    assert (result.error, result.error_index) == (ErrorCode.BUS, index)


@pytest.mark.verilator
def test_memory_that_never_answers(program: Program) -> None:
    """The watchdog ends the program, and names the program's own transfer."""
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, latency=1 << 40, watchdog=500, max_cycles=5000)
    assert (result.error, result.error_index, result.finished) == (ErrorCode.WATCHDOG, 0, False)
    assert 500 <= result.counters["cycles"] <= 510


def test_weights_too_large_are_refused() -> None:
    small = replace(HW, name="small", weight_rows=16)
    with pytest.raises(ValueError, match="weight_rows"):
        compile_program(find("digits").quantized, small)
