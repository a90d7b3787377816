"""One picture of a video: a frame, what changed in it, and what every frame cost."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.video import Pixels
from deltamoe.golden.integer import Trace
from deltamoe.golden.temporal.density import columns
from deltamoe.page import BLUE, GRAY, ORANGE, png


def changed(trace: Trace, config: ModelConfig) -> np.ndarray:
    """Return, by patch, the share of its token's multiplications that were needed."""
    needed, all_of = (np.zeros(config.num_tokens) for _ in range(2))
    for product, mask in trace.sent.items():
        if mask.ndim == 2 and len(mask) == config.num_tokens:
            needed += mask.numpy().sum(-1) * columns(product, config)
            all_of += mask.shape[-1] * columns(product, config)
    width = config.image_width // config.patch_size
    return (needed / all_of)[1:].reshape(-1, width)


def film(shown: list[Pixels], traces: list[Trace], frames: list, config: ModelConfig,
         result: dict) -> bytes:
    """Return a PNG of the middle frame, its changed tokens, and density and cycles over time."""
    middle = len(shown) // 2
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    figure.suptitle(f"{result['model']} on {result['hardware']}, {result['input']}, "
                    f"{result['policy']}, theta {result['theta']}")
    left, right = upper.subplots(1, 2)
    pixels = shown[middle].permute(1, 2, 0).numpy()
    left.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray",
                vmin=0, vmax=255)
    left.set_title(f"frame {middle}")
    heat = right.imshow(changed(traces[middle], config), cmap="cividis", vmin=0, vmax=1)
    right.set_title("multiplications needed, by token")
    upper.colorbar(heat, ax=right, label="share")
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    numbers = range(len(frames))
    shares, cycles = lower.subplots(1, 2)
    shares.plot(numbers, [frame.density for frame in frames], color=BLUE, marker=".")
    shares.set(xlabel="frame", ylabel="density of events", ylim=(0, 1.05))
    cycles.plot(numbers, [frame.dense_cycles for frame in frames], color=GRAY, label="dense")
    cycles.plot(numbers, [frame.cycles for frame in frames], color=ORANGE, marker=".",
                label=result["policy"])
    cycles.set(xlabel="frame", ylabel="cycles")
    for axes in (shares, cycles):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    cycles.set_ylim(0, 1.15 * max(frame.dense_cycles for frame in frames))
    cycles.legend()
    return png(figure, dpi=110)
