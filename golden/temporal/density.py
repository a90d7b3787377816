"""How much of the arithmetic of a frame its events cause."""

from collections.abc import Iterable

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import Trace
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.shapes import tensor_formats


def columns(product: Operator, config: ModelConfig) -> int:
    """Multiplications that one event of a matrix product causes: its output columns.

    One a key for the scores, one a dimension of a head for the values, two an expert for a gate,
    whose weights are two planes.
    """
    if product.part == Part.SCORES:
        return config.num_tokens
    if product.part == Part.VALUES:
        return config.head_dim
    shape = tensor_formats(config)[f"{product.whole}.weight"].shape
    return shape[-2] * (2 if product.part == Part.GATE else 1)


def density(trace: Trace, config: ModelConfig, products: Iterable[Operator] | None = None) -> float:
    """Sent multiplications of all: ``sum_p events_p columns_p / sum_p elements_p columns_p``.

    Parameters
    ----------
    trace : Trace
        Of :class:`deltamoe.golden.temporal.frames.Temporal`.
    config : ModelConfig
        Its network.
    products : Iterable of Operator, optional
        Some of ``trace.operands``; all if left out.
    """
    weight = {product: columns(product, config)
              for product in (trace.operands if products is None else products)}
    sent = sum(int(trace.sent[product].sum()) * cost for product, cost in weight.items())
    return sent / sum(trace.sent[product].numel() * cost for product, cost in weight.items())
