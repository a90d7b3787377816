"""Events reproduce the dense product, and the reference never drifts."""

import pytest
import torch

from deltamoe.golden.arithmetic.events import advance, encode


def test_modes_on_a_row_worked_by_hand() -> None:
    row = torch.tensor([3, 0, -2, 5])
    assert encode(row, "dense") == [(0, 3), (1, 0), (2, -2), (3, 5)]
    assert encode(row, "zero_skip") == [(0, 3), (2, -2), (3, 5)]
    assert encode(row, "zero_skip", zero_point=5) == [(0, -2), (1, -5), (2, -7)]
    reference = torch.tensor([1, 0, -2, 8])
    assert encode(row, "delta", reference=reference) == [(0, 2), (3, -3)]
    assert encode(row, "delta", reference=reference, theta=2) == [(3, -3)]


@pytest.mark.parametrize("theta", [0, 1, 7])
def test_delta_accumulates_exactly_and_stays_within_theta(theta: int) -> None:
    generator = torch.Generator().manual_seed(theta)
    weight = torch.randint(-127, 128, (6, 40), generator=generator)
    row = torch.randint(-128, 128, (40,), generator=generator)
    reference = torch.zeros(40, dtype=torch.int64)
    acc = torch.zeros(6, dtype=torch.int64)
    skipped = 0
    for _ in range(20):
        row = (row + torch.randint(-9, 10, (40,), generator=generator)).clamp(-128, 127)
        events = encode(row, "delta", reference=reference, theta=theta)
        skipped += int((row != reference).sum()) - len(events)
        for k, delta in events:
            acc += delta * weight[:, k]
        reference = advance(reference, events)
        assert torch.equal(acc, weight @ reference)
        assert (row - reference).abs().max() <= theta
    assert (skipped > 0) == (theta > 0)


def test_bad_requests_are_refused() -> None:
    row = torch.tensor([1])
    with pytest.raises(ValueError, match=r"mode='sparse' is not one of dense, zero_skip, delta"):
        encode(row, "sparse")
    with pytest.raises(ValueError, match="needs a reference"):
        encode(row, "delta")
