"""Records from any PyTorch module, by the operators that it runs."""

import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import flex_attention

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import (
    OUTSIDE,
    SEVERAL,
    Named,
    layer_in,
    recognize,
    recognized,
)
from deltamoe.golden.sparsity.observer import Observer
from deltamoe.golden.sparsity.record import Moment, Record
from deltamoe.golden.sparsity.rule import largest


def trace(model: nn.Module, inputs: Tensor | Mapping[str, Any] | Iterable[Any],
          routers: Mapping[str, int] | None = None) -> Record:
    """Run ``model`` and record what it multiplies.

    Recorded is, below all functions that a network may call,

    * every product with a parameter, or with what is computed of parameters alone, under the
      parameter's name without ``weight``. One that runs several times in a frame has the rows of
      all; with another part of it, or its transpose, ``use_2`` and so on follows the name. A
      parameter with a matrix for each expert makes ``X.experts.{e}.{parameter}``;
    * every convolution whose windows do not overlap, as a product with patches;
    * every attention ``softmax(q k) v``, in one operator or in several, as the products
      ``X.attention.scores`` and ``.values`` of the module ``X`` that computes it. Keys may be fewer
      than queries in heads, and more in tokens, as with a cache.

    What is not recorded is counted, sums of products by element as ``(a * b).sum(-1)`` included,
    and a warning names it with its share, or without one where it is not known what an operator
    multiplies. What a network computes outside of PyTorch, with NumPy for example, and by element
    without such a sum is not noticed. A product whose name
    does not say what it is of its block (:func:`deltamoe.golden.sparsity.names.recognize`), but
    whose operand and result do, gets that as a last word of its name: ``0.fc1``.

    Parameters
    ----------
    model : nn.Module
        Runs in evaluation mode without gradients, and is left as it was.
    inputs : Tensor, mapping or iterable
        One frame that is a tensor or a dictionary of arguments, or frames in a list: each a tensor,
        a tuple of arguments or a dictionary of them.
    routers : Mapping of str to int, optional
        By name the layers that choose experts, and how many of them a token gets. Their experts
        are those of the same block with a name ``experts.{number}``; for a token they count as work
        only where it chooses them, also if the network computes all.

    Returns
    -------
    Record
        With operands (R, K) as the int8 codes that hardware would see, the largest magnitude of
        a product in all frames being 127, and real weights (N, K); no network to run again.

    Raises
    ------
    ValueError
        The model is no module or holds parameters without values (device ``meta``), the inputs are
        of another kind, there is no frame or nothing to record, a router is none of the products or
        has fewer experts, or an operand holds NaN or infinity.

    Warns
    -----
    UserWarning
        Not all multiplications are recorded, or what a product is of its block is not recognized.
    """
    routers = routers or {}
    frames = given(model, inputs, routers)
    observer, moments = Observer(model, frozenset(routers)), []
    modes = {module: module.training for module in model.modules()}
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    eager = flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
    try:
        with suppress(NotImplementedError):  # exported modules have one mode only
            model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        torch.backends.mkldnn.enabled = False
        flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
        with observer.watching(model), torch.inference_mode():
            for frame in frames:
                observer.clear()
                with observer:
                    run(model, frame)
                observer.finish()
                moments.append(moment(observer, routers))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.enabled = fused
        flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = eager
        for module, training in modes.items():
            module.training = training
        release(model)
    if not any(each.operands for each in moments):
        raise ValueError(f"{type(model).__name__} has no matrix product that can be recorded" +
                         (f", only {', '.join(observer.unseen)}" if observer.unseen else ""))
    made = finished(model, observer, coded(moments), routers)
    if made.unseen or made.unrecognized:
        warnings.warn(f"the trace {made.seen}", stacklevel=2)
    return made


def given(model: nn.Module, inputs: Any, routers: Any) -> list[Any]:
    """Return the frames; raise ValueError unless these arguments can be traced."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model is {type(model).__name__}, not a torch.nn.Module")
    bare = next((name for name, each in model.named_parameters() if each.is_meta), None)
    if bare is not None:
        raise ValueError(f"parameter {bare} has no values, it is on device meta; load the weights")
    if not isinstance(routers, Mapping) or not all(type(each) is int for each in routers.values()):
        raise ValueError("routers are a dictionary of names and integers, as {'gate': 2}")
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Tensor | Iterable):
        raise ValueError(f"the inputs are {type(inputs).__name__}, not a tensor, a dictionary of "
                         "arguments or a list of frames")
    frames = [inputs] if isinstance(inputs, Tensor | Mapping) else list(inputs)
    if not frames:
        raise ValueError("there is no frame to record")
    return frames


def release(model: nn.Module) -> None:
    """Make tensors that modules kept of their run, caches for example, fit for training again."""
    for module in model.modules():
        for tensors in (module._buffers, vars(module)):
            for name, value in tensors.items():
                if isinstance(value, Tensor) and value.is_inference():
                    tensors[name] = value.clone()


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
            found = torch.cat(observer.results[name]).double()
            if not 1 <= count <= found.shape[-1]:
                raise ValueError(f"router {name!r}: {count} experts of a token are not in "
                                 f"1..{found.shape[-1]}")
            logits[layer_in(name)] = found
            routes[layer_in(name)] = largest(found, count).nonzero()[:, 1].view(-1, count)
    return Moment(operands, {name: each.keys for name, each in observer.attentions.items()},
                  logits, routes)


def finished(model: nn.Module, observer: Observer, moments: list[Moment],
             routers: Mapping[str, int]) -> Record:
    """Return the record, with the weights of layers that did not run, and names that say roles."""
    weights = dict(observer.weights)
    for name in routers:
        if name not in weights:
            raise ValueError(f"router {name!r} is not one of the products {', '.join(weights)}")
    idle = {name: module.weight.detach().float().cpu() for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and name not in weights}
    weights |= {name: weight for name, weight in idle.items() if recognize(name).expert is not None}
    weights |= siblings(model, weights)
    roles = observer.roles | dict.fromkeys(routers, Part.GATE)
    products = {name: known(name, roles, weights) for name in weights} | observer.attended
    return Record(
        tuple(replace(each, operands={products[name]: operand
                                      for name, operand in each.operands.items()})
              for each in moments),
        {products[name]: weight.contiguous() for name, weight in weights.items()},
        widths={products[name]: width for name, width in observer.widths.items()},
        macs=observer.counted, unseen=dict(observer.unseen))


def siblings(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of experts that no token chose, of parameters that hold those of all."""
    made = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() != 3:
            continue
        owner, _, last = name.rpartition(".")
        inside = owner if owner.split(".")[-1] == "experts" else f"{owner}.experts".lstrip(".")
        names = [f"{inside}.{number}.{last.removesuffix('_weight')}"
                 for number in range(len(parameter))]
        known = next((index for index, each in enumerate(names) if each in weights), None)
        if known is None:
            continue
        tensor = parameter.detach().float().cpu()
        turned = not torch.equal(tensor[known], weights[names[known]])
        made |= {each: (tensor[index].mT if turned else tensor[index]).clone()
                 for index, each in enumerate(names) if each not in weights}
    return made


def known(name: str, roles: Mapping[str, str], weights: Mapping[str, Tensor]) -> Named:
    """Return a product by its name, known as its role unless its name says the same."""
    product, role = recognize(name), roles.get(name)
    if role is None and product.expert is not None:
        like = (roles[other] for other in weights if other in roles
                and re.sub(r"\d+", "", other) == re.sub(r"\d+", "", name))
        role = next(like, None)
    fixed = product.part in OUTSIDE or (role in SEVERAL and recognized(product))
    return product if role is None or product.part == role or fixed else product.known_as(role)


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
