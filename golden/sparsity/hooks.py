"""Records from any PyTorch module, by forward hooks on its linear layers."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from golden.sparsity.names import layer
from golden.sparsity.record import Moment, Record
from golden.sparsity.rule import largest


def trace(model: nn.Module, inputs: Tensor | Iterable[Any],
          routers: Mapping[str, int] | None = None) -> Record:
    """Run ``model`` and record what its linear layers multiply.

    Every ``nn.Linear`` becomes a product of its own name; one that runs several times in a frame
    has the rows of all. Attention's two products are no modules, so they are not seen, nor are
    layers whose ``forward`` is not called, as inside ``nn.MultiheadAttention``.

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
    if not linears:
        raise ValueError(f"{type(model).__name__} has no linear layer")
    for name, count in (routers or {}).items():
        if name not in linears:
            raise ValueError(f"router {name!r} is not one of the linear layers "
                             f"{', '.join(linears)}")
        if not 1 <= count <= linears[name].out_features:
            raise ValueError(f"router {name!r}: {count} experts of a token are not in "
                             f"1..{linears[name].out_features}")
    frames = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not frames:
        raise ValueError("there is no frame to record")
    seen: dict[str, list[Tensor]] = {}
    results: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Any:
        def keep(module: nn.Module, arguments: tuple, result: Tensor) -> None:
            seen.setdefault(name, []).append(rows(arguments[0]))
            results.setdefault(name, []).append(rows(result))
        return keep

    hooks = [module.register_forward_hook(hook(name)) for name, module in linears.items()]
    training, moments = model.training, []
    try:
        model.eval()
        for frame in frames:
            seen.clear()
            results.clear()
            run(model, frame)
            moments.append(moment(seen, results, routers or {}))
    finally:
        model.train(training)
        for handle in hooks:
            handle.remove()
    tops = {name: max(float(each.operands[name].abs().max()) for each in moments
                      if name in each.operands and each.operands[name].numel())
            for name in dict.fromkeys(name for each in moments for name in each.operands)}
    coded = (replace(each, operands={name: codes(x, tops[name])
                                     for name, x in each.operands.items()}) for each in moments)
    return Record(tuple(coded), {name: module.weight.detach().float().cpu()
                                 for name, module in linears.items()})


def codes(x: Tensor, top: float) -> Tensor:
    """Return int8 codes, ``top`` being 127."""
    return (x.double() * (127 / top if top else 0)).round().to(torch.int64)


def run(model: nn.Module, frame: Any) -> None:
    """Run one frame."""
    with torch.no_grad():
        if isinstance(frame, Mapping):
            model(**frame)
        else:
            model(*(frame if isinstance(frame, tuple) else (frame,)))


def rows(x: Tensor) -> Tensor:
    """Return a copy of (..., K) as (R, K)."""
    return x.detach().reshape(-1, x.shape[-1]).float().cpu().clone()


def moment(seen: Mapping[str, list[Tensor]], results: Mapping[str, list[Tensor]],
           routers: Mapping[str, int]) -> Moment:
    """Return one frame's operands, and what its routers said."""
    operands = {name: torch.cat(parts) for name, parts in seen.items()}
    for name, operand in operands.items():
        if not operand.isfinite().all():
            raise ValueError(f"operand of {name} holds NaN or infinity")
    logits, routes = {}, {}
    for name, count in routers.items():
        if name in results:
            logits[layer(name)] = torch.cat(results[name]).double()
            routes[layer(name)] = largest(logits[layer(name)], count).nonzero()[:, 1].view(
                -1, count)
    return Moment(operands, {}, logits, routes)
