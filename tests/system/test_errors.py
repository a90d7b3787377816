"""Bad programs and a failing memory stop the accelerator cleanly, with a code and an index."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import deltamoe
from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.boards.verilator.board import Verilated
from deltamoe.golden.engines import integer_output
from deltamoe.golden.library import default_image, find
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS
from deltamoe.rtl.program import (
    DESCRIPTOR_BYTES,
    Attention,
    Descriptor,
    ErrorCode,
    Linear,
    Load,
    Mode,
    Store,
    Target,
)
from tests.support.descriptors import broken
from tests.system.networks import HARDWARE

HW = PRESETS["nano"]
STATUS = REGISTERS["status"].mask
PORTED = HARDWARE["ports"]


@pytest.fixture(scope="module")
def program() -> NetworkProgram:
    return compile_program(find("digits").quantized, HW)


def spoiled(program: NetworkProgram, index: int, **fields: int) -> np.ndarray:
    """Return the memory with some fields of one descriptor replaced."""
    memory = program.with_image(default_image(program.config).numpy())
    raw = broken(program.descriptors[index], **fields)
    memory[index * DESCRIPTOR_BYTES : (index + 1) * DESCRIPTOR_BYTES] = np.frombuffer(raw, np.uint8)
    return memory


def first(program: NetworkProgram, kind: type[Descriptor], target: Target | None = None) -> int:
    """Return the index of the first descriptor of this type, of a transfer for this target."""
    return next(index for index, descriptor in enumerate(program.descriptors)
                if isinstance(descriptor, kind)
                and (target is None or descriptor.target == target))


CASES = [
    (ErrorCode.OPCODE, Linear, {"opcode": 0}),
    (ErrorCode.OPCODE, Linear, {"opcode": 15}),
    (ErrorCode.FIELD, Linear, {"depth": 0}),
    (ErrorCode.FIELD, Linear, {"depth": HW.max_depth + 1}),
    (ErrorCode.FIELD, Linear, {"rows": 0}),
    (ErrorCode.FIELD, Linear, {"rows": HW.max_tokens + 1}),
    (ErrorCode.FIELD, Linear, {"columns": 5}),
    (ErrorCode.FIELD, Linear, {"gang": len(HW.gangs)}),
    (ErrorCode.FIELD, Linear, {"split": 7}),
    (ErrorCode.FIELD, Linear, {"gang": 0, "split": 0, "span": 1}),
    (ErrorCode.FIELD, Attention, {"set_size": len(HW.gangs)}),
    (ErrorCode.FIELD, Attention, {"spread": 3}),
    (ErrorCode.FIELD, Load, {"span": len(HW.gangs)}),
    (ErrorCode.FIELD, Linear, {"dest": 10}),
    (ErrorCode.RANGE, Linear, {"mode": Mode.DELTA, "gather": 1}),
    (ErrorCode.RANGE, Linear, {"mode": Mode.DELTA, "scatter": 1, "slots": 2, "places": 1}),
    (ErrorCode.RANGE, Linear, {"mode": Mode.DELTA, "scatter": 1,
                                      "places": HW.state_words + 1}),
    (ErrorCode.RANGE, Linear, {"mode": Mode.DENSE, "stores": 1, "gather": 1}),
    (ErrorCode.RANGE, Linear, {"mode": Mode.DELTA, "state_base": HW.state_words}),
    (ErrorCode.RANGE, Linear, {"mode": Mode.DELTA, "reference_base": HW.reference_words}),
    (ErrorCode.FIELD, Attention, {"heads": 0}),
    (ErrorCode.FIELD, Attention, {"head_dim": 5}),
    (ErrorCode.RANGE, Linear, {"weight_base": HW.weight_rows - 1}),
    (ErrorCode.RANGE, Linear, {"param_base": HW.param_words}),
    (ErrorCode.RANGE, Linear, {"source_stride": 0xFFFF}),
    (ErrorCode.RANGE, Linear, {"dest_base": HW.residual_words}),
    (ErrorCode.RANGE, Attention, {"key_base": HW.kv_rows}),
    (ErrorCode.RANGE, Attention, {"value_base": HW.kv_rows}),
    (ErrorCode.RANGE, Attention, {"dest_stride": 0xFFFF}),
    (ErrorCode.RANGE, Store, {"base": HW.residual_words}),
    (ErrorCode.RANGE, Load, {"base": HW.act_words}),
    (ErrorCode.FIELD, Load, {"target": 9}),
    (ErrorCode.FIELD, Load, {"target": Target.STATE, "beats": 3}),
    (ErrorCode.RANGE, Load, {"target": Target.STATE, "beats": 4,
                                    "base": HW.state_words - 1}),
    (ErrorCode.RANGE, Load, {"target": Target.REFERENCE, "beats": 1,
                                    "base": HW.reference_words - 1}),
    (ErrorCode.FIELD, Store, {"target": Target.WEIGHTS}),
    (ErrorCode.FIELD, Store, {"target": Target.STATE, "beats": 3}),
    (ErrorCode.RANGE, Store, {"target": Target.STATE, "beats": 4,
                                     "base": HW.state_words - 1}),
    (ErrorCode.RANGE, Store, {"target": Target.REFERENCE, "beats": 1,
                                     "base": HW.reference_words - 1}),
    (ErrorCode.ADDRESS, Load, {"address": 1}),
    (ErrorCode.ADDRESS, Load, {"address": 0xFFFFFFF8}),
    (ErrorCode.ADDRESS, Store, {"beats": 0}),
    (ErrorCode.DEADLOCK, Linear, {"wait_loads": 0xFFFF}),
]


@pytest.mark.verilator
@pytest.mark.parametrize(("code", "kind", "fields"), CASES)
def test_bad_descriptor(program: NetworkProgram, code: ErrorCode, kind: type[Descriptor],
                        fields: dict[str, int]) -> None:
    index = first(program, kind)
    result = engine.run(program, spoiled(program, index, **fields), max_cycles=100_000)
    assert (result.error, result.error_index, result.finished) == (code, index, False)


@pytest.mark.verilator
def test_a_piece_of_the_program_that_is_missing(program: NetworkProgram) -> None:
    """Both walkers wait for descriptors that nothing loads."""
    index = first(program, Load, target=Target.PROGRAM)
    memory = spoiled(program, index, descriptors=1, beats=DESCRIPTOR_BYTES // HW.bus_bytes)
    result = engine.run(program, memory, max_cycles=100_000)
    assert (result.error, result.error_index) == (ErrorCode.DEADLOCK, HW.piece + 1)


@pytest.mark.verilator
@pytest.mark.parametrize("count", ["wait_computes", "wait_stores"])
def test_loads_that_never_start(program: NetworkProgram, count: str) -> None:
    """They wait for operators or transfers; who waits for them is reported."""
    memory = spoiled(program, first(program, Load), **{count: 0xFFFF})
    result = engine.run(program, memory, max_cycles=100_000)
    assert (result.error, result.error_index) == (ErrorCode.DEADLOCK,
                                                  first(program, Linear))


@pytest.mark.verilator
def test_program_without_halt(program: NetworkProgram) -> None:
    count = len(program.descriptors) - 1
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, max_cycles=100_000, length=count)
    assert (result.error, result.error_index) == (ErrorCode.LENGTH, count)


@pytest.mark.verilator
@pytest.mark.parametrize("length", [0, HW.program_depth + 1])
def test_program_length(program: NetworkProgram, length: int) -> None:
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, max_cycles=100_000, length=length)
    assert (result.error, result.finished) == (ErrorCode.LENGTH, False)


@pytest.mark.verilator
@pytest.mark.parametrize("where", ["weights", "store", "program"])
def test_bus_error(program: NetworkProgram, where: str) -> None:
    index = {"weights": first(program, Load, target=Target.WEIGHTS),
             "store": first(program, Store), "program": 0}[where]
    address = 64 if where == "program" else program.descriptors[index].address + 8
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, max_cycles=100_000, fail_address=address)
    assert (result.error, result.error_index) == (ErrorCode.BUS, index)


class Ported:
    """The digits on hardware with several ports, again and again on one model."""

    def __init__(self, model: Verilated) -> None:
        self.model, self.network = model, find("digits")
        self.image = default_image(self.network.quantized.config)
        self.program = compile_program(self.network.quantized, PORTED)
        self.expected, _ = integer_output(self.network, self.image, 0)
        model.write_memory(0, self.program.with_image(self.image.numpy()).tobytes())

    def read(self, name: str) -> int:
        return self.model.read_register(REGISTERS[name].offset)

    def write(self, name: str, value: int) -> None:
        self.model.write_register(REGISTERS[name].offset, value)

    def start(self) -> None:
        for name, value in (("program_length", len(self.program.descriptors)),
                            ("memory_size", self.program.size),
                            ("control", REGISTERS["control"].mask("start"))):
            self.write(name, value)

    def wait(self, *bits: str) -> None:
        """Let time pass until these bits of the status have fallen."""
        for _ in range(10_000):
            if not self.read("status") & STATUS(*bits):
                return
            self.model.pause()
        raise AssertionError(f"{bits} stay")

    def runs_well(self) -> None:
        """Bits and counters are those after power-up."""
        self.start()
        self.wait("busy")
        assert (self.read("status"), self.read("error_code")) == (STATUS("done"), 0)
        memory = np.frombuffer(self.model.read_memory(0, self.program.size), np.uint8)
        tokens, scores = self.program.outputs(memory)
        np.testing.assert_array_equal(tokens, self.expected.x)
        np.testing.assert_array_equal(scores, self.expected.scores)
        cycles = self.model.read_register(COUNTERS_OFFSET + 8 * list(COUNTERS).index("cycles"))
        assert cycles == deltamoe.simulate("digits", PORTED).cycles


@pytest.fixture(scope="module")
def ported() -> Iterator[Ported]:
    with Verilated(PORTED, pause=100, power_up_seed=1) as model:
        yield Ported(model)


@pytest.mark.verilator
@pytest.mark.parametrize("port", range(PORTED.memory_ports))
@pytest.mark.parametrize("where", ["weights", "store", "program"])
def test_bus_error_of_any_port(ported: Ported, where: str, port: int) -> None:
    """It is told of the descriptor whose beat it is, though ports read ahead; then all is right."""
    program = ported.program
    index = {"weights": first(program, Load, target=Target.WEIGHTS),
             "store": first(program, Store), "program": 0}[where]
    begin, beats = ((0, DESCRIPTOR_BYTES // PORTED.bus_bytes * PORTED.piece) if where == "program"
                    else (program.descriptors[index].address, program.descriptors[index].beats))
    address = next(place for place in range(begin, begin + beats * PORTED.bus_bytes)
                   if place // PORTED.block_bytes % PORTED.memory_ports == port)
    ported.model.fail(address)
    ported.start()
    ported.wait("busy")
    assert ported.read("status") & STATUS("error")
    assert (ported.read("error_code"), ported.read("error_index")) == (ErrorCode.BUS, index)
    ported.model.fail(None)
    ported.runs_well()


@pytest.mark.verilator
@pytest.mark.parametrize("pauses", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233])
def test_a_reset_at_any_time_of_several_ports(ported: Ported, pauses: int) -> None:
    """What is in flight is ended, and the next program is as after power-up."""
    ported.start()
    for _ in range(pauses):
        ported.model.pause()
    ported.write("control", REGISTERS["control"].mask("reset"))
    ported.wait("busy", "draining")
    ported.runs_well()


@pytest.mark.verilator
def test_several_ports_that_are_silent(ported: Ported) -> None:
    """The watchdog ends the program; when memory answers again, all is right."""
    watchdog = ported.read("watchdog")
    ported.model.silence(True)
    ported.write("watchdog", 500)
    ported.start()
    ported.wait("busy")
    assert ported.read("error_code") == ErrorCode.WATCHDOG
    assert ported.read("status") & STATUS("draining")
    ported.model.silence(False)
    ported.write("watchdog", watchdog)
    ported.runs_well()


@pytest.mark.verilator
def test_memory_that_never_answers(program: NetworkProgram) -> None:
    """The watchdog ends the program, and names the program's own transfer."""
    memory = program.with_image(default_image(program.config).numpy())
    result = engine.run(program, memory, latency=1 << 40, watchdog=500, max_cycles=5000)
    assert (result.error, result.error_index, result.finished) == (ErrorCode.WATCHDOG, 0, False)
    assert 500 <= result.counters["cycles"] <= 510


def test_weights_too_large_are_refused() -> None:
    small = replace(HW, name="small", weight_rows=16)
    with pytest.raises(ValueError, match="weight_rows"):
        compile_program(find("digits").quantized, small)
