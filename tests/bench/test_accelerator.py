"""The whole accelerator under a protocol-checking memory."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from deltamoe.golden.integer import infer
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.program import DESCRIPTOR_BYTES, Attention
from tests.support.descriptors import broken
from tests.support.verilator import accelerator, run_bench
from tests.system.networks import HARDWARE, make


@pytest.mark.verilator
def test_protocol_reset_and_result(tmp_path: Path, seed: int) -> None:
    hw = HARDWARE["nano"]
    model, image, task = next(made for made in (
        make(number, hw, "free") for number in count(1000 * seed + 4))
        if made[0].config.num_classes == ())
    program = compile_program(model, hw, task)
    trace = infer(model, image, task)
    memory = program.with_image(image.numpy())
    expected = memory.copy()
    words = trace.x.numpy().astype("<i2").reshape(-1)
    start = program.outputs_at[0]
    expected[start : start + 2 * len(words)] = words.view(np.uint8)
    index = next(n for n, descriptor in enumerate(program.descriptors)
                 if isinstance(descriptor, Attention))
    spoiled = memory.copy()
    bad = broken(program.descriptors[index], heads=0)
    spoiled[index * DESCRIPTOR_BYTES :][:DESCRIPTOR_BYTES] = np.frombuffer(bad, np.uint8)
    case = tmp_path / "case.npz"
    np.savez(case, memory=memory, broken=spoiled, expected=expected, index=index,
             size=program.size, length=len(program.descriptors))
    run_bench(accelerator(hw), "deltamoe",
              "tests.bench.bench_accelerator", tmp_path, DELTAMOE_CASE=str(case),
              DELTAMOE_SEED=str(seed))
