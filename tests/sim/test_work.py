"""Work that is left out on the simulated datapath: exact where nothing is, and monotone."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.library import default_image, find
from deltamoe.golden.operators import QKV, Operator, Part
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.sparsity.names import recognize
from deltamoe.golden.sparsity.work import Frame, Work
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.label import PROGRAM, Label, What
from deltamoe.rtl.program import Compute, Waiting
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.work import State, moved, remembered, thinned, weights_of, worked

DIGITS, NANO = MODELS["digits"], PRESETS["nano"]
FORGETFUL = replace(NANO, state_words=64, reference_words=64)
"""It has little room on chip for what is remembered."""


def works(config, routed, task=0, **changes) -> dict[Operator, Work]:
    """Dense work of a network by hand, not by the mechanism ``dense``."""
    tokens, heads, width = config.num_tokens, config.num_heads, config.head_dim
    formats, found = tensor_formats(config), {}

    def add(product: Operator, rows: int) -> None:
        weight = formats[f"{product.whole}.weight"]
        planes, (columns, depth) = 2 if weight.dtype == "int16" else 1, weight.shape[-2:]
        found[product] = Work(rows=rows, depth=depth, columns=planes * columns,
                              weight_bytes=planes * columns * depth)

    add(Operator(Part.PATCH), tokens - 1)
    for layer in range(config.num_layers):
        for part in (*QKV, Part.PROJ):
            add(Operator(part, layer), tokens)
        found[Operator(Part.SCORES, layer)] = Work(
            rows=heads * tokens, depth=width, columns=tokens, weight_bytes=0)
        found[Operator(Part.VALUES, layer)] = Work(
            rows=heads * tokens, depth=tokens, columns=width, weight_bytes=0)
        if config.is_moe(layer):
            add(Operator(Part.GATE, layer, task=task), tokens)
            for expert, rows in enumerate(routed[layer]):
                for part in (Part.FC1, Part.FC2) if rows else ():
                    add(Operator(part, layer, expert), int(rows))
        else:
            add(Operator(Part.FC1, layer), tokens)
            add(Operator(Part.FC2, layer), tokens)
    if config.num_classes:
        add(Operator(Part.HEAD, task=task), 1)
    return {product: replace(work, **{key: value(work) for key, value in changes.items()})
            for product, work in found.items()}


def run(plan=Policy.DENSE, frames=1, config=DIGITS, hw=NANO, **changes):
    """Simulate a network's work with ``changes`` to every product."""
    routing = facts(config, 0)
    program = compile_program(Outline(config), hw, 0, Plan(Choice(plan)), frames=frames)
    frame = Frame(works(config, routing.routed, **changes), routing.routed)
    return simulate(*worked(program, [frame] * frames))


def masks(density: float, seed: int = 0):
    """Masks of which a sparser one is contained in a denser one."""
    def drawn(work: Work) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.random((work.rows, work.depth)) < density
    return drawn


CASES = [("digits", "nano", 1), ("digits", "nano", 3),
         pytest.param("m3vit-tiny-129", "zcu102", 1, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("model", "hardware", "frames"), CASES)
@pytest.mark.parametrize("events", [lambda work: None, masks(1)], ids=["none", "all"])
def test_nothing_left_out_is_dense_in_every_counter(model, hardware, frames, events) -> None:
    config, hw = MODELS[model], PRESETS[hardware]
    routing = facts(config, 0)
    routing = replace(routing, later=(routing,) * (frames - 1))
    dense = simulate(compile_program(Outline(config), hw, frames=frames), routing)
    left = run(frames=frames, config=config, hw=hw, events=events)
    assert left.counters == dense.counters
    assert left.acts == dense.acts


@pytest.mark.parametrize("events", [lambda work: None, masks(1)], ids=["none", "all"])
def test_tiles_and_parts_share_what_is_left(events) -> None:
    """Of a layer in tiles of tokens, and in two parts of its sums: every counter is that of dense.

    With half the rows, each tile has half of its own.
    """
    hw = replace(NANO, act_words=160, max_depth=48)
    program = compile_program(Outline(DIGITS), hw)
    assert len({label.section for label in program.labels if label.section}) == 4
    dense = simulate(program, facts(DIGITS, 0))
    left = run(hw=hw, events=events)
    assert left.counters == dense.counters
    fc1 = works(DIGITS, facts(DIGITS, 0).routed)
    half = {product: replace(work, rows=work.rows // 2) if product.part == Part.FC1
            and product.expert is None else work for product, work in fc1.items()}
    fewer, _ = worked(program, [Frame(half, facts(DIGITS, 0).routed)])
    rows = [one.rows for label, one in zip(fewer.labels, fewer.descriptors, strict=True)
            if label.role is None and label.subject == Operator(Part.FC1, 0)]
    assert (len(rows), sum(rows)) == (2, 8)


def test_masks_of_zeros_are_the_hardwares_zero_skipping() -> None:
    """Given what a golden run skips, and all weights, every counter is that of the exact path."""
    network = find("digits").quantized
    trace = infer(network, default_image(DIGITS))
    program = compile_program(network, NANO, 0, Plan(Choice(Policy.ZERO_SKIP)))
    exact = simulate(program, from_trace(trace, DIGITS))
    assert exact.counters["macs_skipped"] > 0
    routed = from_trace(trace, DIGITS).routed
    skipping = {}
    for product, work in works(DIGITS, routed).items():
        zero = int(network[f"{product.block}.gelu"][0]) if product.part == Part.FC2 else 0
        mask = trace.operands[product].numpy() != zero
        skipping[product] = replace(work, events=mask.reshape(work.rows, work.depth))
    assert simulate(*worked(program, [Frame(skipping, routed)])
                    ).counters == exact.counters


def test_fewer_events_never_take_longer() -> None:
    cycles = [run(Policy.ZERO_SKIP, events=masks(density)).cycles
              for density in (1, 0.7, 0.4, 0.1, 0)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] < 0.8 * cycles[0]


@pytest.mark.parametrize("change", [
    lambda share: {"weight_density": lambda work: share},
    lambda share: {"weight_bytes": lambda work: int(share * work.weight_bytes)},
    lambda share: {"computed": lambda work: np.arange(work.rows * work.columns).reshape(
        work.rows, -1) % 8 < 8 * share},
    lambda share: {"predictor_macs": lambda work: int(1000 * share)},
    lambda share: {"predictor_bytes": lambda work: int(1000 * share)},
    lambda share: {"state_read_bytes": lambda work: int(3000 * share)},
    lambda share: {"state_written_bytes": lambda work: int(3000 * share)},
    lambda share: {"index_bytes": lambda work: int(1000 * share)},
], ids=["weight_density", "weight_bytes", "computed", "predictor_macs", "predictor_bytes",
        "state_read_bytes", "state_written_bytes", "index_bytes"])
def test_more_to_do_takes_longer(change) -> None:
    cycles = [run(hw=FORGETFUL, **change(share)).cycles for share in (0.25, 0.5, 1)]
    assert cycles == sorted(cycles)
    assert cycles[0] < cycles[-1]


def test_multiplications_and_bytes_are_those_of_the_work() -> None:
    dense = run()
    half = run(weight_density=lambda work: 0.5)
    assert half.counters["macs"] == pytest.approx(0.5 * dense.counters["macs"], rel=0.01)
    asked = run(predictor_macs=lambda work: 5 * work.rows * work.columns)
    added = sum(5 * work.rows * work.columns for work in works(
        DIGITS, facts(DIGITS, 0).routed).values())
    assert asked.counters["macs"] - dense.counters["macs"] == pytest.approx(added, rel=0.01)


def test_a_column_that_no_token_needs_is_loaded_all_the_same() -> None:
    """It is known only when the operand has been computed, long after the load."""
    dense = run()
    fewer = run(weight_bytes=lambda work: work.weight_bytes // 4,
                unused_bytes=lambda work: work.weight_bytes - work.weight_bytes // 4)
    assert fewer.counters["bytes_read"] == dense.counters["bytes_read"]
    static = run(weight_bytes=lambda work: work.weight_bytes // 4)
    assert static.counters["bytes_read"] < 0.6 * dense.counters["bytes_read"]


def state(result) -> tuple[int, int]:
    """Return the bytes of what is remembered that a run reads from memory and writes to it."""
    read, written = (sum(count for act, count in result.acts.items() if (
        act.component, act.operand, act.action) == ("dram", "sums", action))
        for action in ("random_read", "random_update"))
    return read, written


def test_what_is_remembered_is_read_before_its_product_and_written_behind_it() -> None:
    """Written bytes are written. Attention's two products keep theirs together."""
    dense, all_of = run(hw=FORGETFUL), works(DIGITS, facts(DIGITS, 0).routed)
    assert state(dense) == (0, 0)
    sizes = {"state_read_bytes": lambda work: 4096, "state_written_bytes": lambda work: 8192}
    kept = run(hw=FORGETFUL, **sizes)
    assert state(kept) == (4096 * len(all_of), 8192 * len(all_of))
    assert kept.counters["bytes_written"] - dense.counters["bytes_written"] == 8192 * len(all_of)
    for frames in (1, 3):
        several = run(hw=FORGETFUL, frames=frames, **sizes)
        assert state(several) == (frames * 4096 * len(all_of), frames * 8192 * len(all_of))
        assert several.counters["macs"] == frames * dense.counters["macs"]


def test_what_is_remembered_stays_on_chip_as_far_as_there_is_room() -> None:
    """64 words of 4 sums of 4 bytes and 64 of 4 codes are 1,280 bytes."""
    works_of = {recognize(f"p{number}"): Work(rows=1, depth=1, columns=1, weight_bytes=0,
                                   state_read_bytes=size) for number, size in enumerate(
                                       (600, 100, 580))}
    states = remembered(works_of, works_of)
    assert FORGETFUL.word == 4
    assert moved(states, FORGETFUL) == {}
    third, fourth = recognize("p3"), recognize("p4")
    more = {**states, third: State(0, 150)}
    assert moved(more, FORGETFUL) == more       # two of 600 bytes leave 80 for those that stay
    assert moved({**more, fourth: State(10, 80)}, FORGETFUL) == more


def test_what_a_gate_and_an_expert_remember_waits_for_no_more_than_before() -> None:
    """Every operator still waits for the operators that it waited for."""
    routing = facts(DIGITS, 0).routed
    frame = Frame(works(DIGITS, routing, state_read_bytes=lambda work: 4096,
                        state_written_bytes=lambda work: 4096), routing)
    program = compile_program(Outline(DIGITS), FORGETFUL)
    left, _ = worked(program, [frame])

    def waits(one) -> list[tuple[Label, Label]]:
        labeled = list(zip(one.labels, one.descriptors, strict=True))
        computes = [label for label, descriptor in labeled if isinstance(descriptor, Compute)]
        return [(label, computes[descriptor.wait_computes - 1]) for label, descriptor in labeled
                if isinstance(descriptor, Waiting) and descriptor.wait_computes
                and label.subject != PROGRAM.subject and label.what != What.STATE]

    assert waits(left) == waits(program)


def test_products_left_out_cost_neither_bytes_nor_multiplications() -> None:
    routing = facts(DIGITS, 0).routed
    all_of = works(DIGITS, routing)
    stored, gone = (Part.FC1, Part.FC2), {
        Operator(part, 0) for part in (Part.FC1, Part.FC2, Part.SCORES, Part.VALUES)}
    program = compile_program(Outline(DIGITS), NANO)
    dense, less = (simulate(*worked(program, [Frame(left, routing)])) for left in (
        all_of, {product: work for product, work in all_of.items() if product not in gone}))
    saved = sum(all_of[product].macs for product in gone)
    assert dense.counters["macs"] - less.counters["macs"] == saved
    weights = weights_of(DIGITS)
    least = sum(weights[Operator(part, 0)].bytes for part in stored)
    assert dense.counters["bytes_read"] - less.counters["bytes_read"] >= least
    assert less.cycles < dense.cycles


def test_fewer_tokens_fewer_scores() -> None:
    """A pruned block of 8 of 17 tokens multiplies as 8 tokens would."""
    routing = facts(DIGITS, 0).routed
    all_of = works(DIGITS, routing)
    left, heads = dict(all_of), DIGITS.num_heads
    for part in (*QKV, Part.PROJ):
        left[Operator(part, 0)] = replace(left[Operator(part, 0)], rows=8)
    scores, values = Operator(Part.SCORES, 0), Operator(Part.VALUES, 0)
    left[scores] = replace(left[scores], rows=8 * heads, columns=8)
    left[values] = replace(left[values], rows=8 * heads, depth=8)
    program = compile_program(Outline(DIGITS), NANO)
    dense, less = (simulate(*worked(program, [Frame(made, routing)])).counters["macs"]
                   for made in (all_of, left))
    assert dense - less == sum(all_of[product].macs - left[product].macs for product in left) > 0


def test_pairs_left_out_are_neither_scored_nor_summed() -> None:
    """Of 17 keys each query sees 8, whole words of scores."""
    routing = facts(DIGITS, 0).routed
    all_of = works(DIGITS, routing)
    left = dict(all_of)
    pairs = np.random.default_rng(0).permuted(
        np.tile(np.arange(17) < 8, (17 * DIGITS.num_heads, 1)), axis=1)
    for layer in range(DIGITS.num_layers):
        scores, values = Operator(Part.SCORES, layer), Operator(Part.VALUES, layer)
        left[scores] = replace(left[scores], computed=pairs)
        left[values] = replace(left[values], events=pairs)
    program = compile_program(Outline(DIGITS), NANO)
    dense, less = (simulate(*worked(program, [Frame(made, routing)])) for made in (all_of, left))
    assert dense.counters["macs"] - less.counters["macs"] == sum(
        all_of[product].macs - left[product].macs for product in left) > 0
    assert less.counters["softmax_words"] == dense.counters["softmax_words"] * 2 / 5
    assert less.cycles < dense.cycles


def test_thinned_keeps_the_share_of_every_row() -> None:
    events = np.random.default_rng(0).random((20, 64)) < 0.6
    kept = thinned(events, 0.25)
    assert not (kept & ~events).any()
    assert (kept.sum(1) == events.sum(1) // 4).all()


def test_inconsistent_work_is_refused() -> None:
    routing = facts(DIGITS, 0).routed
    program = compile_program(Outline(DIGITS), NANO)
    frame = Frame(works(DIGITS, routing), routing)
    with pytest.raises(ValueError, match="2 frames of work for a program of 1"):
        worked(program, [frame, frame])
    wrong = {layer: tokens + 1 for layer, tokens in routing.items()}
    for other in (wrong, {}):
        with pytest.raises(ValueError, match=r"blocks\.1\.experts\.\d\.fc1 has \d+ rows"):
            worked(program, [Frame(frame.works, other)])
