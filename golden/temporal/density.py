"""How much of the arithmetic of a frame its events cause."""

from collections.abc import Iterable

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import Trace
from deltamoe.golden.quantization.shapes import tensor_shapes
from deltamoe.golden.temporal.policy import operator_of


def columns(product: str, config: ModelConfig) -> int:
    """Multiplications that one event of a matrix product causes: its output columns.

    One a key for the scores, one a dimension of a head for the values, two an expert for a gate,
    whose weights are two planes.
    """
    if product.endswith(".scores"):
        return config.num_tokens
    if product.endswith(".values"):
        return config.head_dim
    _, shape = tensor_shapes(config)[f"{operator_of(product)}.weight"]
    return shape[-2] * (2 if ".gate." in product else 1)


def density(trace: Trace, config: ModelConfig, products: Iterable[str] | None = None) -> float:
    """Sent multiplications of all: ``sum_p events_p columns_p / sum_p elements_p columns_p``.

    Parameters
    ----------
    trace : Trace
        Of :class:`deltamoe.golden.temporal.frames.Temporal`.
    config : ModelConfig
        Its network.
    products : Iterable of str, optional
        Names in ``trace.operands``; all if left out.
    """
    names = list(trace.operands if products is None else products)
    weight = {name: columns(name, config) for name in names}
    sent = sum(int(trace.sent[name].sum()) * weight[name] for name in names)
    return sent / sum(trace.sent[name].numel() * weight[name] for name in names)
