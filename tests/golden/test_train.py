"""Training: reproducible from its seed, and good enough after all epochs."""

import pytest
import torch

from deltamoe.golden.data.images import digits
from deltamoe.golden.training import train


def test_a_seed_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "EPOCHS", 1)
    first, second, other = (train.train_digits(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_images_move_by_one_pixel_at_most() -> None:
    images = torch.zeros(200, 1, 8, 8)
    images[:, 0, 4, 4] = 1
    moved = train.shifted(images, torch.Generator().manual_seed(0))
    places = moved.flatten(1).argmax(-1)
    assert (moved.flatten(1).sum(-1) == 1).all()
    assert set(places.tolist()) == {8 * y + x for y in (3, 4, 5) for x in (3, 4, 5)}


@pytest.mark.slow
def test_both_tasks_reach_97_percent() -> None:
    model = train.train_digits(0)
    images, digit = digits("test")
    with torch.no_grad():
        for task in range(2):
            right = model(images.float(), task)[1].argmax(-1) == train.labels_of(task, digit)
            assert right.float().mean() >= 0.97
