"""Sequences of digits: they move as far as they say, come back, and each seed is its own."""

import pytest
import torch

from deltamoe.golden.data import sequences as made
from deltamoe.golden.data.images import digits
from deltamoe.golden.data.sequences import (
    FRAMES,
    KINDS,
    PERIOD,
    REACH,
    film,
    moved,
    paths,
    sequences,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_whole_and_half_pixels() -> None:
    image = torch.zeros(3, 1, 8, 8)
    image[:, 0, 4, 4] = 200
    down, right, half = moved(image, torch.tensor([[1.0, 0], [0, -2.0], [0.5, 0.25]]))[:, 0]
    assert torch.allclose(down[5, 4], torch.tensor(200.0), atol=1e-3)
    assert torch.allclose(right[4, 2], torch.tensor(200.0), atol=1e-3)
    expected = 200 * torch.tensor([[0.5 * 0.75, 0.5 * 0.25], [0.5 * 0.75, 0.5 * 0.25]])
    assert torch.allclose(half[4:6, 4:6], expected, atol=1e-3)
    assert torch.allclose(moved(image, torch.tensor([[4.0, 0]] * 3)), torch.zeros(1), atol=1e-3)


def test_ways_are_straight_bounded_even_and_closed() -> None:
    way = paths(200, generator(), 2 * PERIOD + 1)
    distance = way.norm(dim=-1)
    assert distance.max() <= REACH + 1e-6
    assert torch.allclose(distance.amax(1), torch.tensor(REACH))
    assert distance.amin() < 1e-6
    assert torch.allclose(way.diff(dim=1).norm(dim=-1), torch.tensor(2 * REACH / PERIOD), atol=1e-6)
    assert torch.allclose(way[:, :-PERIOD], way[:, PERIOD:], atol=1e-6)
    directions = (way[:, 5] / distance[:, 5:6]).round(decimals=3)
    assert len(directions.unique(dim=0)) > 100


def test_kinds() -> None:
    images = digits("train")[0][:100]
    moving, noisy, both = (film(images, kind, generator(1)) for kind in KINDS)
    assert moving.shape == (100, FRAMES, 1, 8, 8)
    assert moving.dtype == torch.uint8
    difference = (noisy.float() - images[:, None].float())
    assert abs(float(difference[:, :, :, 3:5, 3:5].std()) - made.NOISE) < 0.2
    assert (difference[:, 0] != difference[:, 1]).any()
    still = film(images, "moving", generator(1), PERIOD + 1)
    assert torch.equal(still[:, 0], still[:, PERIOD])
    apart = (both.float() - moving.float())
    assert 0.5 < float(apart.std()) <= made.NOISE + 0.1
    with pytest.raises(ValueError, match="'still' is not one of moving, noisy, both"):
        film(images, "still", generator())


def test_a_seed_gives_the_same_sequences_of_the_last_digits() -> None:
    first, digit = sequences("test", "both", 3, count=5)
    assert digit.tolist() == digits("test")[1][-5:].tolist()
    assert torch.equal(first, sequences("test", "both", 3, count=5)[0])
    assert not torch.equal(first, sequences("test", "both", 4, count=5)[0])
    assert len(sequences("test", "moving")[0]) == 360


def test_no_held_out_digit_is_trained_on() -> None:
    train, test = ({bytes(image.numpy()) for image in digits(part)[0]} for part in
                   ("train", "test"))
    assert not train & test
