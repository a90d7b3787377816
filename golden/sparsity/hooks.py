"""Records from any PyTorch module, by the operators that it runs."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import flex_attention

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import OUTSIDE, SEVERAL, Named, recognize, recognized
from deltamoe.golden.sparsity.observer import Observer
from deltamoe.golden.sparsity.origins import product_of
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
    frames = frames_of(model, inputs, routers)
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
    record = finished(model, observer, coded(moments), routers)
    if record.unseen or record.unrecognized:
        warnings.warn(f"the trace {record.seen}", stacklevel=2)
    return record


def frames_of(model: nn.Module, inputs: Any, routers: Any) -> list[Any]:
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
    operands = {product: torch.cat(parts) for product, parts in observer.operands.items()}
    for product, operand in operands.items():
        if not operand.isfinite().all():
            raise ValueError(f"operand of {product} holds NaN or infinity")
    logits, routes = {}, {}
    for router, results in observer.results.items():
        scores, count = torch.cat(results).double(), routers[str(router)]
        if not 1 <= count <= scores.shape[-1]:
            raise ValueError(f"router {str(router)!r}: {count} experts of a token are not in "
                             f"1..{scores.shape[-1]}")
        logits[router.layer] = scores
        routes[router.layer] = largest(scores, count).nonzero()[:, 1].view(-1, count)
    return Moment(operands, {name: each.keys for name, each in observer.attentions.items()},
                  logits, routes)


def finished(model: nn.Module, observer: Observer, moments: list[Moment],
             routers: Mapping[str, int]) -> Record:
    """Return the record, with the weights of layers that did not run, and names that say roles."""
    weights = dict(observer.weights)
    ran = {str(product): product for product in weights}
    for name in routers:
        if name not in ran:
            raise ValueError(f"router {name!r} is not one of the products {', '.join(ran)}")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and recognize(name).expert is not None:
            weights.setdefault(recognize(name), module.weight.detach().float().cpu())
    weights |= idle_experts(model, weights)
    roles = observer.roles | dict.fromkeys((ran[name] for name in routers), Part.GATE)
    products = {product: known(product, roles) for product in weights} | {
        product: product for product in observer.attended}
    return Record(
        tuple(replace(each, operands={products[product]: operand
                                      for product, operand in each.operands.items()})
              for each in moments),
        {products[product]: weight.contiguous() for product, weight in weights.items()},
        widths=dict(observer.widths), macs=observer.counted, unseen=dict(observer.unseen))


def idle_experts(model: nn.Module, weights: Mapping[Named, Tensor]) -> dict[Named, Tensor]:
    """Return the weights of experts that no token chose, of parameters that hold those of all."""
    idle = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() != 3:
            continue
        whole = product_of(name)
        experts = [whole.of_expert(number) for number in range(len(parameter))]
        first = next((number for number, each in enumerate(experts) if each in weights), None)
        if first is None:
            continue
        tensor = parameter.detach().float().cpu()
        turned = not torch.equal(tensor[first], weights[experts[first]])
        idle |= {each: (tensor[number].mT if turned else tensor[number]).clone()
                 for number, each in enumerate(experts) if each not in weights}
    return idle


def known(product: Named, roles: Mapping[Named, str]) -> Named:
    """Return a product known as its role, unless its name says the same.

    An expert that no token chose has the role of the others of its kind, first of its own mixture.
    """
    role = roles.get(product)
    if role is None and product.expert is not None:
        alike = [other for other in roles
                 if other.expert is not None and other.part == product.part]
        alike.sort(key=lambda other: other.mixture != product.mixture)
        role = roles[alike[0]] if alike else None
    fixed = product.part in OUTSIDE or (role in SEVERAL and recognized(product))
    return product if role is None or product.part == role or fixed else product.known_as(role)


def coded(moments: list[Moment]) -> list[Moment]:
    """Return all operands and keys as int8 codes, 127 being a product's largest magnitude."""
    operands = [dict(each.operands) for each in moments]
    keys = [dict(each.keys) for each in moments]
    for tensors in (operands, keys):
        for name in {name: None for each in tensors for name in each}:
            seen = [each for each in tensors if name in each]
            top = max((float(each[name].abs().max()) for each in seen if each[name].numel()),
                      default=0.0)
            for each in seen:
                scale = 127 / top if top else 0.0
                each[name] = (each[name].double() * scale).round().to(torch.int64)
    return [replace(each, operands=codes, keys=key_codes)
            for each, codes, key_codes in zip(moments, operands, keys, strict=True)]
