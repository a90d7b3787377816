"""Train the small two-task network on scikit-learn's bundled handwritten digits."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from deltamoe.golden.config import MODELS
from deltamoe.golden.data.images import digits
from deltamoe.golden.model import M3ViT, Site

EPOCHS = 120
BATCH = 64


def labels_of(task: int, digit: Tensor) -> Tensor:
    """Task 0 is the digit, task 1 whether it is odd."""
    return digit if task == 0 else digit % 2


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by up to one pixel in each direction."""
    padded = functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    return torch.stack([padded[n, :, dy : dy + 8, dx : dx + 8]
                        for n, (dy, dx) in enumerate(offsets.tolist())])


def losses(model: M3ViT, pixels: Tensor, task: int, digit: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of images (..., C, height, width), and how unevenly their experts are used."""
    gates: list[Tensor] = []

    def keep(site: Site, value: Tensor) -> None:
        if site.kind == "gate":
            gates.append(value.softmax(-1).flatten(0, -2).mean(0))

    scores = model(pixels, task, keep)[1].flatten(0, -2)
    labels = labels_of(task, digit).flatten()
    return (functional.cross_entropy(scores, labels, label_smoothing=0.05),
            0.02 * sum((load * len(load)).var() for load in gates))


def batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the numbers of ``count`` images in a drawn order, ``BATCH`` at a time; no rest."""
    order = torch.randperm(count, generator=generator)
    yield from order[: count // BATCH * BATCH].view(-1, BATCH)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer,
            schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    """Go one step down the gradient of ``loss``."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


def train_digits(seed: int = 0, progress: Callable[[int, int], None] | None = None) -> M3ViT:
    """Train both tasks together; reproducible from ``seed`` on one thread."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, digit = digits("train")
    config = MODELS["digits"]
    model = M3ViT(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        for batch in batches(len(images), generator):
            pixels = shifted(images[batch].float(), generator)
            loss = torch.zeros(())
            for task in range(config.num_tasks):
                for term in losses(model, pixels, task, digit[batch]):
                    loss = loss + term
            descend(loss, optimizer, schedule)
        if progress:
            progress(epoch + 1, EPOCHS)
    return model.eval()


def accuracy(predict: Callable[[Tensor, int], int], task: int, part: str = "test",
             count: int | None = None) -> float:
    """Share of (the first ``count``) images whose class ``predict(image, task)`` gets right."""
    images, digit = (values[:count] for values in digits(part))
    labels = labels_of(task, digit)
    right = sum(predict(image, task) == int(label)
                for image, label in zip(images, labels, strict=True))
    return right / len(images)
