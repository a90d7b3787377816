"""Records from any PyTorch module, by forward hooks on its linear layers."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from golden.sparsity.names import layer
from golden.sparsity.observer import Observer
from golden.sparsity.record import Moment, Record
from golden.sparsity.rule import largest


def trace(model: nn.Module, inputs: Tensor | Iterable[Any],
          routers: Mapping[str, int] | None = None) -> Record:
    """Run ``model`` and record what it multiplies.

    Every ``nn.Linear`` becomes a product of its own name; one that runs several times in a frame
    has the rows of all. A self-attention by ``torch.nn.functional.scaled_dot_product_attention``
    becomes the products ``X.attention.scores`` and ``.values`` of the module ``X`` that calls it,
    the first one of each layer number. Layers whose ``forward`` is not called are not seen, as
    inside ``nn.MultiheadAttention``.

    Parameters
    ----------
    model : nn.Module
        Runs in evaluation mode without gradients, and is left as it was.
    inputs : Tensor or iterable
        One frame, or frames: each a tensor, a tuple of arguments or a dictionary of them.
    routers : Mapping of str to int, optional
        By name the linear layers that choose experts, and how many of them a token gets. Experts
        are found beside a router ``X.gate`` or ``X.router`` as ``X.experts.{number}.``.

    Returns
    -------
    Record
        With operands (R, K) as the int8 codes that hardware would see, the largest magnitude of
        a product in all frames being 127, and real weights (N, K); no network to run again.

    Raises
    ------
    ValueError
        There is no frame or no linear layer, a router is none of them or has fewer experts, or an
        operand holds NaN or infinity.
    """
    linears = {name: module for name, module in model.named_modules()
               if isinstance(module, nn.Linear)}
    check(model, linears, routers or {})
    frames = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not frames:
        raise ValueError("there is no frame to record")
    observer, training, moments = Observer(), model.training, []
    try:
        model.eval()
        with observer.watching(model), observer, torch.no_grad():
            for frame in frames:
                observer.clear()
                run(model, frame)
                moments.append(moment(observer, routers or {}))
    finally:
        model.train(training)
    return Record(tuple(coded(moments)), {name: module.weight.detach().float().cpu()
                                          for name, module in linears.items()})


def check(model: nn.Module, linears: Mapping[str, nn.Linear], routers: Mapping[str, int]) -> None:
    """Raise ValueError unless there are linear layers, and the routers are some of them."""
    if not linears:
        raise ValueError(f"{type(model).__name__} has no linear layer")
    for name, count in routers.items():
        if name not in linears:
            raise ValueError(f"router {name!r} is not one of the linear layers "
                             f"{', '.join(linears)}")
        if not 1 <= count <= linears[name].out_features:
            raise ValueError(f"router {name!r}: {count} experts of a token are not in "
                             f"1..{linears[name].out_features}")


def run(model: nn.Module, frame: Any) -> None:
    """Run one frame."""
    if isinstance(frame, Mapping):
        model(**frame)
    else:
        model(*(frame if isinstance(frame, tuple) else (frame,)))


def moment(observer: Observer, routers: Mapping[str, int]) -> Moment:
    """Return one frame's operands, and what its routers said."""
    operands = {name: torch.cat(parts) for name, parts in observer.operands.items()}
    for name, operand in operands.items():
        if not operand.isfinite().all():
            raise ValueError(f"operand of {name} holds NaN or infinity")
    logits, routes = {}, {}
    for name, count in routers.items():
        if name in observer.results:
            logits[layer(name)] = torch.cat(observer.results[name]).double()
            routes[layer(name)] = largest(logits[layer(name)], count).nonzero()[:, 1].view(
                -1, count)
    return Moment(operands, dict(observer.keys), logits, routes)


def coded(moments: list[Moment]) -> list[Moment]:
    """Return all operands and keys as int8 codes, 127 being a product's largest magnitude."""
    made = [dict(each.operands) for each in moments]
    keys = [dict(each.keys) for each in moments]
    for tensors in (made, keys):
        for name in {name: None for each in tensors for name in each}:
            seen = [each for each in tensors if name in each]
            top = max((float(each[name].abs().max()) for each in seen if each[name].numel()),
                      default=0.0)
            for each in seen:
                scale = 127 / top if top else 0.0
                each[name] = (each[name].double() * scale).round().to(torch.int64)
    return [replace(each, operands=operands, keys=key)
            for each, operands, key in zip(moments, made, keys, strict=True)]
