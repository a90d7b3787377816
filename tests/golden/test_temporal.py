"""Frame after frame: with theta 0 no bit differs, and with any theta no error grows."""

from dataclasses import replace
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deltamoe.golden.arithmetic import events
from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.golden.data.video import frames
from deltamoe.golden.integer import Context, Trace, infer, run
from deltamoe.golden.model import build
from deltamoe.golden.operators import Operator, Part, operators
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.golden.temporal.frames import State, Temporal, advance
from deltamoe.golden.temporal.policy import Choice, Plan, Policy, policies

WEIGHTS = Path(__file__).parents[2] / "golden" / "weights"
UNEVEN = replace(
    MODELS["digits"], name="uneven", image_channels=3, image_height=6, image_width=10,
    embed_dim=24, num_heads=3, hidden_dim=40, num_experts=5, top_k=3, expert_dim=20,
    num_classes=(7, 3))
FRAMES = 16
DELTA = Choice(Policy.DELTA)


@cache
def network(name: str) -> QuantizedModel:
    if name == "digits":
        return QuantizedModel.load(WEIGHTS / "digits.quantized.safetensors")
    return quantize(build(UNEVEN, seeded(UNEVEN, 3)), [*video(UNEVEN, "pan", 2)])


def video(config: ModelConfig, kind: str, count: int = FRAMES, seed: int = 1) -> list[Tensor]:
    if kind == "identical":
        return [*video(config, "fixed", 1)] * count
    if kind == "cut":
        return video(config, "object", count // 2) + video(config, "object", count - count // 2, 2)
    return list(frames(f"generator:{kind}", config, count, seed))


def differing(one: Trace, other: Trace) -> list[str]:
    """Names of what differs between two traces' results and operands."""
    assert one.operands.keys() == other.operands.keys()
    pairs = {"x": (one.x, other.x), "scores": (one.scores, other.scores)} | {
        name: (a, other.operands[name]) for name, a in one.operands.items()}
    return [name for name, pair in pairs.items() if not torch.equal(*pair)]


@pytest.mark.parametrize("kind", ["fixed", "object", "pan", "cut", "identical"])
@pytest.mark.parametrize("name", ["digits", "uneven"])
def test_theta_0_changes_no_bit(name: str, kind: str) -> None:
    model = network(name)
    shown = video(model.config, kind)
    exact = [infer(model, pixels) for pixels in shown]
    for policy in Policy:
        temporal = Temporal(model, Plan(Choice(policy)))
        for pixels, reference in zip(shown, exact, strict=True):
            trace = temporal.run(pixels)
            assert not differing(trace, reference), policy
            assert {n: m.shape for n, m in trace.sent.items()} == {
                n: a.shape for n, a in trace.operands.items()}
    moved = sum(int((a.routes[1][0] != b.routes[1][0]).any(-1).sum())
                for a, b in pairwise(exact))
    assert (moved > 0) == (kind != "identical"), "no token ever changed its experts"


def test_sequences_side_by_side_are_sequences_one_by_one() -> None:
    model = network("uneven")
    shown = torch.stack([torch.stack(video(model.config, kind, 4)) for kind in ("object", "cut")])
    for choice in (Choice(Policy.DELTA, 3), Choice(Policy.TOKEN_GATE), Choice(Policy.ZERO_SKIP)):
        together, *alone = (Temporal(model, Plan(choice)) for _ in range(3))
        for pixels in shown.unbind(1):
            joint = together.run(pixels)
            each = [run.run(frame) for run, frame in zip(alone, pixels, strict=True)]
            assert torch.equal(joint.x, torch.stack([trace.x for trace in each]))
            assert torch.equal(joint.scores, torch.stack([trace.scores for trace in each]))
            for product, sent in joint.sent.items():
                rows = [trace.sent[product] for trace in each if product in trace.sent]
                assert torch.equal(sent, (torch.cat if product.expert is not None
                                          else torch.stack)(rows))


def test_images_at_once_are_images_one_by_one() -> None:
    model = network("uneven")
    images = torch.stack(video(model.config, "object", 6)).unflatten(0, (2, 3))
    joint = infer(model, images, 1)
    for place in ((0, 0), (0, 2), (1, 1)):
        alone = infer(model, images[place], 1)
        assert torch.equal(joint.x[place], alone.x)
        assert torch.equal(joint.scores[place], alone.scores)
        for layer, routes in alone.routes.items():
            assert all(torch.equal(a[place], b)
                       for a, b in zip(joint.routes[layer], routes, strict=True))


def test_policies_and_tasks_may_be_mixed() -> None:
    model = network("uneven")
    mixed = {operator: Choice(policies(operator)[n % len(policies(operator))])
             for n, operator in enumerate(operators(model.config))}
    assert len({choice.policy for choice in mixed.values()}) == 4
    temporal = Temporal(model, Plan(operators=mixed))
    for number, pixels in enumerate(video(model.config, "object")):
        task = number // 3 % 2
        assert not differing(temporal.run(pixels, task), infer(model, pixels, task))


def test_identical_frames_send_only_what_is_recomputed() -> None:
    model = network("digits")
    pixels = video(model.config, "fixed", 1)[0]
    for policy in (Policy.DELTA, Policy.TOKEN_GATE):
        temporal = Temporal(model, Plan(Choice(policy, 3)))
        first = temporal.run(pixels)
        choices = temporal.choices
        for product, sent in first.sent.items():
            if choices[product.whole].policy == policy:
                assert sent.all(), "a first frame is dense"
        again = temporal.run(pixels)
        assert not differing(again, first)
        quiet = {product for product, sent in again.sent.items() if not sent.any()}
        assert quiet == {product for product in again.sent
                         if choices[product.whole].policy == policy}
        temporal.reset()
        assert temporal.run(pixels).sent[Operator(Part.PATCH)].all()


class Remembering:
    """Delta as the event encoder has it, row by row, with a reference for each token."""

    def __init__(self, model: QuantizedModel, theta: int) -> None:
        self.model, self.theta = model, theta
        self.old: dict[tuple[Operator, int], Tensor] = {}
        self.new: dict[tuple[Operator, int], Tensor] = {}
        self.sent: dict[Operator, Tensor] = {}
        self.restarts = 0

    def run(self, pixels: Tensor, task: int = 0) -> Trace:
        self.old, self.new, self.sent = self.new, {}, {}
        trace = run(Context(self.model, task, product=self.product), pixels)
        return replace(trace, sent=self.sent)

    def product(self, product: Operator, a: Tensor, weight: Tensor, bias: Tensor | None,
                tokens: Tensor | None) -> Tensor:
        sent = torch.zeros_like(a, dtype=torch.bool)
        held = []
        for row, token in enumerate(range(len(a)) if tokens is None else tokens.tolist()):
            reference = self.old.get((product, token))
            if reference is None:
                self.restarts += bool(self.old)
                found, reference = events.encode(a[row], "dense"), torch.zeros_like(a[row])
            else:
                found = events.encode(a[row], "delta", reference=reference, theta=self.theta)
            held.append(events.advance(reference, found))
            self.new[product, token] = held[-1]
            sent[row, [k for k, _ in found]] = True
        self.sent[product] = sent
        acc = torch.stack(held) @ weight.T
        return acc if bias is None else acc + bias


@pytest.mark.parametrize("theta", [0, 1, 4])
@pytest.mark.parametrize("name", ["digits", "uneven"])
def test_delta_is_the_event_encoders(name: str, theta: int) -> None:
    """Every bit and event is that of references kept by token, and lost with the expert."""
    model = network(name)
    temporal = Temporal(model, Plan(Choice(Policy.DELTA, theta)))
    plain = Remembering(model, theta)
    inexact = 0
    for number, pixels in enumerate(video(model.config, "object", 10)):
        task = int(number > 6)
        expected, trace = plain.run(pixels, task), temporal.run(pixels, task)
        assert not differing(trace, expected)
        for product, sent in expected.sent.items():
            assert torch.equal(trace.sent[product], sent), product
        inexact += bool(differing(trace, infer(model, pixels, task)))
    assert plain.restarts > 10
    assert inexact == (0 if theta == 0 else 9)


@pytest.mark.parametrize("policy", [Policy.DELTA, Policy.TOKEN_GATE])
def test_a_token_starts_again_with_an_expert_it_left(policy: Policy) -> None:
    """Token 0 leaves experts 0 to 2 for 2 to 4 and returns; all others stay."""
    model = network("uneven")
    temporal = Temporal(model, Plan(Choice(policy, 255)))
    home = torch.tensor([[0, 1, 2]]).expand(16, 3)
    away = home.clone()
    away[0] = torch.tensor([2, 3, 4])
    pixels = video(model.config, "fixed", 1)[0]
    first, second, third = (temporal.run(pixels, 0, {1: route, 3: home}).sent
                            for route in (home, away, home))
    for part in (Part.FC1, Part.FC2):
        for expert in range(3):
            assert first[Operator(part, 1, expert)].all()
        for expert in (0, 1):
            product = Operator(part, 1, expert)
            assert second[product].shape[0] == 15
            assert not second[product].any()
            assert third[product][0].all(), "the state outlived the routing"
            assert not third[product][1:].any()
        for expert in (3, 4):
            assert second[Operator(part, 1, expert)].all()
            assert Operator(part, 1, expert) not in third
        assert not second[Operator(part, 1, 2)].any(), "token 0 kept expert 2"
        assert not third[Operator(part, 1, 2)].any()


def test_an_expert_without_any_token_forgets_them_all() -> None:
    model = network("uneven")
    temporal = Temporal(model, Plan(DELTA))
    low, high = (torch.tensor([route]).expand(16, 3) for route in ([0, 1, 2], [2, 3, 4]))
    pixels = video(model.config, "fixed", 1)[0]
    for route in (low, high):
        temporal.run(pixels, 0, {1: route, 3: low})
    sent = temporal.run(pixels, 0, {1: low, 3: low}).sent
    assert sent[Operator(Part.FC1, 1, 0)].all()
    assert not sent[Operator(Part.FC1, 1, 2)].any()


def test_zero_is_the_code_of_gelu_of_0_behind_a_table() -> None:
    model = network("uneven")
    trace = Temporal(model, Plan(Choice(Policy.ZERO_SKIP))).run(video(model.config, "pan", 1)[0])
    for product, a in trace.operands.items():
        zero = int(model[f"{product.block}.gelu"][0]) if product.part == Part.FC2 else 0
        assert torch.equal(trace.sent[product], a != zero), product
    assert int(model["blocks.0.gelu"][0]) != 0
    hidden = trace.sent[Operator(Part.FC2, 0)]
    assert 0 < hidden.sum() < hidden.numel()


def test_a_refused_frame_leaves_the_state_as_it_was() -> None:
    model = network("digits")
    temporal = Temporal(model, Plan(DELTA))
    pixels = video(model.config, "fixed", 1)[0]
    temporal.run(pixels)
    with pytest.raises(ValueError, match="the network takes"):
        temporal.run(pixels[:, :4])
    assert not temporal.run(pixels).sent[Operator(Part.PATCH)].any()


def test_a_plan_is_checked_against_the_network() -> None:
    with pytest.raises(ValueError, match=r"digits has no operator 'blocks\.9\.q'"):
        Temporal(network("digits"), Plan(operators={Operator(Part.Q, 9): DELTA}))


def play(rows: list[Tensor], weight: Tensor, choice: Choice) -> list[tuple[Tensor, State]]:
    """Send one operand (R, K) after another."""
    steps, state = [], None
    for x in rows:
        sent, state = advance(state, torch.arange(len(x)), x, weight, choice)
        steps.append((sent, state))
    return steps


CODES = st.one_of(st.integers(-128, 127), st.sampled_from([-128, 127, 0]))
WEIGHT = torch.tensor([[127, -127, 3], [-1, 0, 127]])


@given(st.lists(st.lists(CODES, min_size=6, max_size=6), min_size=1, max_size=30),
       st.integers(0, 255), st.sampled_from([Policy.DELTA, Policy.TOKEN_GATE]))
@settings(deadline=None, max_examples=200)
def test_accumulators_are_those_of_the_reference_and_it_is_within_theta(
        codes: list[list[int]], theta: int, policy: Policy) -> None:
    rows = [torch.tensor(row).view(2, 3) for row in codes]
    before = torch.zeros(2, 3, dtype=torch.int64)
    steps = play(rows, WEIGHT, Choice(policy, theta))
    for number, (x, (sent, state)) in enumerate(zip(rows, steps, strict=True)):
        assert torch.equal(state.acc, state.reference @ WEIGHT.T)
        assert (x - state.reference).abs().max() <= theta
        assert torch.equal(state.reference, torch.where(sent, x, before)), "sent, so known exactly"
        far = (x - before).abs() > theta
        if number and policy == Policy.TOKEN_GATE:
            far = far.any(-1, keepdim=True).expand(2, 3)
        assert torch.equal(sent, far if number else torch.ones_like(sent))
        before = state.reference


@pytest.mark.parametrize("policy", [Policy.DELTA, Policy.TOKEN_GATE])
@pytest.mark.parametrize("theta", [0, 1, 3, 7])
def test_a_slow_ramp_is_followed_within_theta(policy: Policy, theta: int) -> None:
    """One code a frame: each step is within theta, so an open loop would never send."""
    rows = [torch.full((1, 3), value) for value in range(-128, 128)]
    steps = play(rows, WEIGHT, Choice(policy, theta))
    assert max(int((x - state.reference).abs().max())
               for x, (_, state) in zip(rows, steps, strict=True)) == theta
    assert [bool(sent.all()) for sent, _ in steps] == [
        number % (theta + 1) == 0 for number in range(256)]


def test_from_one_extreme_to_the_other_is_a_difference_of_9_bits() -> None:
    rows = [torch.full((1, 3), value) for value in (-128, 127, -128)]
    (_, low), (sent, high), (_, back) = play(rows, WEIGHT, Choice(Policy.DELTA, 254))
    assert sent.all()
    assert (high.acc - low.acc).tolist() == [[255 * 3, 255 * 126]]
    assert torch.equal(back.acc, low.acc)
    assert not play(rows, WEIGHT, Choice(Policy.DELTA, 255))[1][0].any()


def test_policies_on_rows_worked_by_hand() -> None:
    start, then = torch.tensor([[5, 0, -3], [1, 1, 1]]), torch.tensor([[5, 2, -4], [1, 0, 1]])
    sent, state = play([start, then], WEIGHT, Choice(Policy.DELTA, 1))[1]
    assert sent.tolist() == [[False, True, False], [False, False, False]]
    assert state.reference.tolist() == [[5, 2, -3], [1, 1, 1]]
    assert state.acc.tolist() == [[635 - 254 - 9, -5 - 381], [3, 126]]
    sent, state = play([start, then], WEIGHT, Choice(Policy.TOKEN_GATE, 1))[1]
    assert sent.tolist() == [[True, True, True], [False, False, False]]
    assert state.reference.tolist() == [[5, 2, -4], [1, 1, 1]]
    assert state.acc.tolist() == [[635 - 254 - 12, -5 - 508], [3, 126]]
    sent, state = advance(state, torch.arange(2), start, WEIGHT, Choice(Policy.DENSE))
    assert sent.all()
    assert state.acc.tolist() == [[635 - 9, -5 - 381], [3, 126]]
    sent, state = advance(state, torch.arange(2), then, WEIGHT, Choice(Policy.ZERO_SKIP), 1)
    assert sent.tolist() == [[True, True, True], [False, True, False]]
    assert state.acc.tolist() == [[369, -513], [130, 126]]


@given(st.lists(st.sets(st.integers(0, 6)), min_size=2, max_size=12), st.integers(0, 3),
       st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_rows_keep_their_token_while_others_come_and_go(
        routed: list[set[int]], theta: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state, known = None, {}
    for tokens in map(sorted, routed):
        x = torch.randint(-4, 5, (len(tokens), 3), generator=generator)
        sent, state = advance(state, torch.tensor(tokens, dtype=torch.int64), x, WEIGHT,
                              Choice(Policy.DELTA, theta))
        expected = [(x[row] - known[token]).abs() > theta if token in known
                    else torch.ones(3, dtype=torch.bool) for row, token in enumerate(tokens)]
        assert sent.tolist() == [row.tolist() for row in expected]
        assert torch.equal(state.acc, state.reference @ WEIGHT.T)
        known = {token: state.reference[row] for row, token in enumerate(tokens)}


def test_a_state_is_not_changed_by_what_follows() -> None:
    rows = [torch.full((1, 3), value) for value in (1, 50)]
    state = advance(None, torch.arange(1), rows[0], WEIGHT, DELTA)[1]
    kept = [part.clone() for part in state]
    advance(state, torch.arange(1), rows[1], WEIGHT, DELTA)
    assert all(torch.equal(*pair) for pair in zip(state, kept, strict=True))


def test_thetas_reach_their_operator() -> None:
    """One at a time is far too tolerant: it alone sends nothing, and that shows."""
    model = network("digits")
    first, second = islice(frames("generator:pan", model.config), 2)
    exact = infer(model, second)
    for operator in operators(model.config):
        if Policy.DELTA not in policies(operator) or not operator.runs_for(0) or (
                operator.expert is not None):
            continue
        temporal = Temporal(model, Plan(
            Choice(Policy.DENSE), {operator: Choice(Policy.DELTA, 255)}))
        temporal.run(first)
        trace = temporal.run(second)
        assert [n for n, sent in trace.sent.items() if not sent.any()] == [operator]
        assert differing(trace, exact)
