"""Temporal mechanisms: the golden sequence's bits, and the accounts of state."""

import pytest
import torch

from deltamoe.golden.data.video import frames
from deltamoe.golden.library import find
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.record import Moment, Record, record
from deltamoe.golden.sparsity.rules.temporal import ActivationDelta
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from tests.golden.sparsity.support import by_name, layer, play

GENERATOR = torch.Generator().manual_seed(4)


@pytest.mark.parametrize("theta", [0, 3])
@pytest.mark.parametrize("policy", [Policy.DELTA, Policy.TOKEN_GATE, Policy.ZERO_SKIP])
def test_masks_are_those_of_the_golden_sequence(policy: Policy, theta: int) -> None:
    """And so is the output: the same network, run twice in different ways."""
    network = find("digits").quantized
    shown = list(frames("generator:object", network.config, 3))
    recorded = record(network, shown, 1)
    skips = policy == Policy.ZERO_SKIP
    run = Temporal(network, Plan(Choice(policy, 0 if skips else theta)))
    played = play(policy, recorded, **({} if skips else {"theta": theta}))
    for pixels, moment, frame in zip(shown, recorded.frames, played, strict=True):
        trace = run.run(pixels, 1)
        assert list(frame.works) == list(trace.sent)
        for product, sent in trace.sent.items():
            assert (frame.works[product].events == sent.flatten(0, -2).numpy()).all()
        same = torch.equal(trace.x, moment.output)
        assert (frame.sqnr_db == float("inf")) == same
        assert frame.predicted == int(trace.scores.argmax())


def test_state_of_a_sequence_is_charged() -> None:
    """int8 references and int32 sums, as delta networks keep: read and written as a whole."""
    first, second = [[1, 2, 3], [4, 5, 6]], [[1, 2, 9], [4, 5, 6]]
    recorded = layer(torch.ones(5, 3), first, second)
    one, two = play("delta", recorded, theta=0)
    whole = 2 * (3 + 4 * 5)
    (first,), (second,) = one.works.values(), two.works.values()
    assert (first.state_read_bytes, first.state_written_bytes) == (0, whole)
    assert (second.state_read_bytes, second.state_written_bytes) == (whole, whole)
    assert two.macs == 5
    assert (second.weight_bytes, second.loaded_bytes) == (5, 15)
    one, two = play("token-gate", recorded, theta=0)
    assert two.macs == 3 * 5
    assert by_name(two.works)["fc2"].state_bytes == 2 * whole
    assert all(work.state_bytes == 0 for work in play("zero-skip", recorded)[1].works.values())


def block(*parts: str) -> Record:
    """Return two frames of 2 rows of 3 elements through 3 x 3 products of a block.

    Queries, keys and values have one operand, every other product its own.
    """
    x = {part: torch.full((2, 3), 0 if part in "qkv" else 1 + index)
         for index, part in enumerate(parts)}
    frames = tuple(Moment({Operator(Part(part), 0): value + number for part, value in x.items()})
                   for number in range(2))
    return Record(frames, {Operator(Part(part), 0): torch.ones(3, 3) for part in parts})


@pytest.mark.parametrize(("policy", "kept"), [
    ("delta", {"q": 3 + 12, "k": 12, "v": 12, "proj": 3 + 12, "fc1": 3 + 12, "fc2": 3 + 12}),
    ("dal", {"q": 3 + 12, "k": 12, "v": 12, "proj": 3 + 12, "fc1": 3 + 12, "fc2": 3 + 12}),
    ("token-gate", {"q": 3 + 12, "k": 12, "v": 12, "proj": 3 + 12, "fc1": 3, "fc2": 12})])
def test_a_shared_operand_is_kept_once(policy: str, kept: dict[str, int]) -> None:
    """Bytes of a row of 3 codes and 3 sums; an MLP behind a token gate keeps only its ends."""
    first, second = play(policy, block("q", "k", "v", "proj", "fc1", "fc2"))
    for part, size in kept.items():
        one, two = (by_name(frame.works)[f"blocks.0.{part}"] for frame in (first, second))
        assert (one.state_read_bytes, one.state_written_bytes) == (0, 2 * size), part
        assert (two.state_read_bytes, two.state_written_bytes) == (2 * size, 2 * size), part


@pytest.mark.parametrize("step", [1, 4, 16])
def test_an_activation_delta_never_drifts(step: int) -> None:
    """DAL: the product always sees the operand rounded to the step, after any number of frames."""
    x = torch.randint(-120, 121, (30, 4, 6), generator=GENERATOR)
    rule = ActivationDelta(layer(torch.ones(2, 6), *x), step)
    before = torch.zeros(4, 6, dtype=torch.int64)
    for frame in x:
        rule.start()
        sent = rule.send("fc2", frame, torch.ones(2, 6), torch.arange(4))
        assert (sent.value % step == 0).all()
        assert (sent.value - frame).abs().max() <= step / 2
        assert torch.equal(sent.events, sent.value != before)
        before = sent.value


def moving(tokens: int, moved: int, width: int = 4) -> Record:
    """Return two frames of one attention in which the first ``moved`` tokens change."""
    moments = []
    for number in range(2):
        x = torch.ones(tokens, width, dtype=torch.int64)
        x[:moved] += number
        q = torch.ones(2, tokens, width // 2, dtype=torch.int64)
        scores, values = Operator(Part.SCORES, 0), Operator(Part.VALUES, 0)
        moments.append(Moment({Operator(Part.Q, 0): x, scores: q,
                               values: torch.ones(2, tokens, tokens)}, {scores.owner: q}))
    return Record(tuple(moments), {Operator(Part.Q, 0): torch.ones(width, width)})


@pytest.mark.parametrize(("moved", "cost"), [(0, 0), (1, 2), (3, 6), (4, 8), (5, 8), (8, 8)])
def test_updating_attention_breaks_even_at_half_of_the_tokens(moved: int, cost: int) -> None:
    """Eventful transformers: 2 r N d against N^2 d, both products; r = N / 2 is where to stop."""
    _, frame = play("eventful", moving(8, moved), theta=0)
    for part in ("scores", "values"):
        work = by_name(frame.works)[f"blocks.0.attention.{part}"]
        assert work.macs + work.predictor_macs == 2 * cost * 8 * 2, part


def test_most_of_a_still_video_is_not_sent() -> None:
    """DAL: the first frame is what is not zero, of later ones the noise that crosses a step."""
    network = find("digits").quantized
    recorded = record(network, frames("generator:fixed", network.config, 3))
    linear = [product for product in recorded.weights if product in recorded.frames[0].operands]
    dense, kept = play("dense", recorded), play("dal", recorded, step=16)
    first, *later = (sum(frame.works[product].macs for product in linear) for frame in kept)
    whole = sum(dense[0].works[product].macs for product in linear)
    assert max(later) < 0.3 * whole < 0.6 * whole < first


def test_inactive_tokens_do_not_attend(live: Record) -> None:
    """SMA: attention of n of N tokens is a share (n / N)^2 of both products."""
    (frame, _), (dense, _) = play("token-activity", live, active=9 / 17), play("dense", live)
    for part in ("scores", "values"):
        name = f"blocks.2.attention.{part}"
        assert by_name(frame.works)[name].macs * 17**2 == by_name(dense.works)[name].macs * 9**2
    assert by_name(frame.works)["blocks.2.fc1"].rows == 17
