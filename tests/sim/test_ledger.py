"""Shares and actions: nothing is counted twice, nothing is lost."""

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.experiments.layer_sparsity import layer
from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Plan, Policy
from deltamoe.rtl.compiler.entry import DENSE, compile_program
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.label import PROGRAM as OWN
from deltamoe.rtl.label import Role, What
from deltamoe.rtl.program import Linear, Load, Mode, Target
from deltamoe.sim.energy.ledger import PROGRAM
from deltamoe.sim.facts import Facts, from_trace, from_traces
from deltamoe.sim.machine import owners, simulate
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.report.spans import Result
from tests.system.networks import make
from tests.system.test_sequences import sequence

HW = PRESETS["nano"]


def done(result: Result, **wanted: str) -> int:
    """Sum of the actions whose fields are ``wanted``."""
    return sum(count for act, count in result.acts.items()
               if all(getattr(act, name) == value for name, value in wanted.items()))


@cache
def watched(policy: str, seed: int) -> tuple[QuantizedModel, int, Plan, list[Trace], list[Trace]]:
    """Return a network, its task, a plan by name, and three frames by it and densely.

    The third is as the second, so every policy that remembers leaves something out.
    """
    rng = np.random.default_rng(seed)
    model, image, task = make(1000 * seed + 53, HW, "free")
    frames, plan = sequence(image, rng, 2), named(policy, model.config, HW, task)
    frames.append(frames[-1])
    reference = Temporal(model, plan)
    return (model, task, plan, [reference.run(frame, task) for frame in frames],
            [infer(model, frame, task) for frame in frames])


@cache
def runs(policy: str, seed: int) -> tuple[Result, Result, list[Result]]:
    """Three frames by a policy: in one program, and the same densely; each later frame alone."""
    model, task, plan, traces, dense = watched(policy, seed)
    config = model.config
    later = compile_program(model, HW, task, plan, continues=True)
    return (simulate(compile_program(model, HW, task, plan, frames=3),
                     from_traces(traces, config, plan)),
            simulate(compile_program(model, HW, task, DENSE, frames=3),
                     from_traces(dense, config)),
            [simulate(later, from_trace(trace, config, plan)) for trace in traces[1:]])


@pytest.mark.parametrize("policy", Policy)
def test_shares_are_the_counters(policy: str, seed: int) -> None:
    whole, dense, later = runs(policy, seed)
    for result in (whole, dense, *later):
        total = sum((Counter(share) for share in result.shares.values()), Counter())
        assert {name: total[name] for name in result.counters} == dict(result.counters)
        assert total.keys() <= result.counters.keys()


@pytest.mark.parametrize("policy", Policy)
def test_acts_agree_with_counters(policy: str, seed: int) -> None:
    whole, dense, later = runs(policy, seed)
    for result in (whole, dense, *later):
        count = result.counters
        assert min(result.acts.values()) > 0
        assert done(result, action="random_compute") == count["macs"]
        assert (done(result, action="random_compute") + done(result, action="gated_compute")
                == count["worker_busy"] * HW.lanes)
        assert done(result, component="dram", action="random_read") == count["bytes_read"]
        assert done(result, component="dram", action="random_update") == count["bytes_written"]
        for name, share in result.shares.items():
            assert done(result, layer=name, action="random_compute") == share.get("macs", 0)


@pytest.mark.parametrize("policy", Policy)
def test_done_and_skipped_are_all(policy: str, seed: int) -> None:
    """Whatever a policy leaves out, the dense frame has: theta is 0, so the routing is the same."""
    whole, dense, _ = runs(policy, seed)
    skipped = done(whole, action="skipped_compute")
    assert done(whole, action="random_compute") + skipped == dense.counters["macs"]
    assert (skipped > 0) == (policy != Policy.DENSE)
    assert done(whole, action="skipped_read") == skipped


def test_sums_of_all_parts_are_read() -> None:
    """A row of 8 x 16 in nano: by hand, from the placement that the program states."""
    weight = np.ones((16, 64), np.int8)
    program = layer(HW, weight, 5, Mode.DENSE)
    (linear,) = (one for one in program.descriptors if isinstance(one, Linear))
    assert linear.split > 0, "choose a shape whose sum is split"
    result = simulate(program, Facts({}))
    parts = 1 << linear.split
    updates = 5 * 16 * parts * -(-64 // parts // RUN)  # each part's accumulators, run by run
    assert done(result, component="accumulators", action="random_update") == 4 * updates
    assert done(result, component="accumulators", action="random_read") == 4 * (
        updates + 5 * 16 * parts)
    assert done(result, component="weight_memory", action="random_read") == 5 * 16 * 64
    copies = HW.groups // HW.gangs[linear.span]
    assert done(result, component="weight_memory", action="random_fill") == 16 * 64 * copies
    assert done(result, component="operand_memory", action="random_read") == (
        5 * 64 * linear.passes)
    assert done(result, component="residual_memory", operand="outputs", action="random_update"
                ) == 5 * 16 * 3
    assert done(result, component="parameter_memory", action="random_read") == 5 * 16 * 8


def test_weights_for_few_groups_fill_every_group() -> None:
    """Tile ``c`` of a span of ``n`` groups goes to every group ``g`` with ``g % n == c % n``."""
    config, hw, few = MODELS["m3vit-tiny-129"], PRESETS["zcu102"], []
    program = compile_program(Outline(config), hw)
    result = simulate(program, facts(config, 0))
    for label, load in zip(program.labels, program.descriptors, strict=True):
        weights = isinstance(load, Load) and load.target == Target.WEIGHTS
        if weights and hw.gangs[load.span] < hw.groups:
            span, owner = hw.gangs[load.span], str(label.subject)
            few.append(sum(group % span == 0 for group in range(hw.groups)))
            assert done(result, layer=owner, component="weight_memory", action="random_fill"
                        ) == few[-1] * load.beats * hw.bus_bytes
    assert max(few, default=0) > 1, "every layer is spread over all groups"


def test_loads_belong_to_the_operator_that_they_are_for() -> None:
    program = compile_program(make(53, HW, "free")[0], HW, 0)
    for label, load, owner in zip(program.labels, program.descriptors, owners(program),
                                  strict=True):
        if isinstance(load, Load) and load.target == Target.WEIGHTS:
            assert label == replace(owner, what=What.WEIGHTS, role=Role.LOAD)
        if isinstance(load, Load) and load.target == Target.PROGRAM:
            assert owner == OWN


def test_only_the_program_belongs_to_no_operator() -> None:
    config = MODELS["digits"]
    result = simulate(compile_program(Outline(config), HW), facts(config, 0))
    assert {act.operand for act in result.acts if act.layer == PROGRAM} == {"program"}
    assert result.shares[PROGRAM]["cycles"] <= 10


def test_kept_sums_are_read_and_replaced(seed: int) -> None:
    """A fresh delta frame only keeps; a later one reads what was kept and keeps it again.

    What an expert that a token comes to has kept is of another one, and not read.
    """
    whole, _, later = runs("delta", seed)
    model, _, _, traces, _ = watched("delta", seed)
    sizes = {"fc1": (model.config.embed_dim, model.config.expert_dim)}
    sizes["fc2"] = sizes["fc1"][::-1]
    rows = [{product: int((~mask).sum()) for product, mask in trace.known.items()
             if product.expert is not None} for trace in traces[1:]]
    new = [sum(count * sizes[product.part][1] * 4 for product, count in row.items())
           for row in rows]
    assert (sum(new) > 0) == any(
        not torch.equal(*(trace.routes[layer][0].sort(-1).values for trace in pair))
        for pair in pairwise(traces) for layer in traces[0].routes)
    result = later[0]
    kept = result.counters["kept_words"] * HW.word * 4
    assert kept > 0
    assert done(result, operand="sums", action="random_read") == kept - new[0]
    assert done(result, operand="sums", action="random_update") == kept
    assert done(whole, operand="sums", action="random_update") == 3 * kept
    assert done(whole, operand="sums", action="random_read") == 2 * kept - sum(new)
    compared = result.counters["reference_words"] * HW.word - sum(
        count * sizes[product.part][0] for product, count in rows[0].items())
    assert done(result, operand="references", action="random_read") == compared
    assert 0 < done(result, operand="references", action="random_update") <= compared + sum(
        count * sizes[product.part][0] for product, count in rows[0].items())


def test_replayed_rows_only_read_what_was_kept(seed: int) -> None:
    _, _, later = runs("token-gate", seed)
    for result in later:
        replayed = [str(layer.label) for layer in result.layers
                    if layer.label.role == Role.REPLAY]
        assert replayed
        for name in replayed:
            assert not done(result, layer=name, operand="sums", action="random_update")
            assert not done(result, layer=name, action="random_compute")
