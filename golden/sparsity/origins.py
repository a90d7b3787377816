"""Which parameter of a network a tensor holds, whole, in part or as a changed copy."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from deltamoe.golden.sparsity.names import Named, recognize

aten = torch.ops.aten

MOVES = {getattr(aten, name).default for name in (
    "view", "_unsafe_view", "t", "permute", "expand", "clone", "alias", "detach", "unsqueeze",
    "squeeze", "repeat", "cat", "stack")} | {
    aten.transpose.int, aten.select.int, aten.slice.Tensor, aten.unbind.int, aten.split.Tensor,
    aten.split_with_sizes.default, aten.squeeze.dim, aten.squeeze.dims, aten.index.Tensor,
    aten.index_select.default}
"""Operators that move elements and leave their values."""

VIEWS = {aten.view.default, aten._unsafe_view.default}
"""Operators whose result has other axes; what says where elements are from may lie otherwise."""

LOOKUPS = {aten.index.Tensor, aten.index_select.default, aten.gather.default}
"""Operators whose integers say which elements are taken."""


SUFFIXES = re.compile(r"(\.parametrizations\.weight\.\w+|[._](weight|weight_([vg]|orig|mask)))$")
"""Ends of a parameter's name that do not tell it from others of its layer."""

THIRDS = {(0, 1): "q", (1, 2): "k", (2, 3): "v", (1, 3): "kv", (0, 2): "qk"}
"""Parts of the weights that make queries, keys and values."""

ROUTERS = {"gate", "router", "wg", "switch"}


class Origin(NamedTuple):
    """A parameter, as the product that it belongs to.

    Attributes
    ----------
    product : Named
        The product, which has the parameter's name without ``weight``.
    slices : Tensor, optional
        Of each element the index along the parameter's first axis; None where the parameter has
        fewer than three axes or the index is not known.
    experts : bool
        Whether the slices are those of experts.
    computed : bool
        Whether it is a product of parameters: weights, as a sum of low rank, or learned queries.
    """

    product: Named
    slices: Tensor | None = None
    experts: bool = False
    computed: bool = False

    def shaped(self, shape: Iterable[int]) -> "Origin":
        """Return it for a tensor with other axes of the same elements."""
        return self if self.slices is None else self._replace(slices=self.slices.reshape(*shape))

    def transposed(self) -> "Origin":
        """Return it for the transposed matrices."""
        return self if self.slices is None else self._replace(slices=self.slices.mT)

    def of_slice(self, number: int) -> Named:
        """Return the product with a slice of the parameter."""
        return self.product.of_expert(number) if self.experts else self.product.numbered(number)


class Origins:
    """Where the tensors of one run come from."""

    def __init__(self, model: nn.Module) -> None:
        self.stored: dict[int, list[tuple[str, Tensor]]] = {}
        self.copies: Any = WeakTensorKeyDictionary()
        self.overwritten: set[int] = set()
        self.model = model
        self.expert_parameters: dict[str, bool] = {}
        named = [*model.named_parameters(remove_duplicate=False),
                 *model.named_buffers(remove_duplicate=False)]
        linear = {f"{name}.weight" for name, module in model.named_modules()
                  if isinstance(module, nn.Linear)}
        for name, tensor in sorted(named, key=lambda pair: pair[0] not in linear):
            if place(tensor):
                self.stored.setdefault(place(tensor), []).append((name, tensor.detach()))

    def base(self, tensor: Tensor) -> tuple[str, Tensor] | None:
        """Return the parameter whose memory a tensor is in."""
        known = self.stored.get(place(tensor))
        if not known or place(tensor) in self.overwritten:
            return None
        fitting = [pair for pair in known if pair[1].storage_offset() <= tensor.storage_offset()
                   < pair[1].storage_offset() + pair[1].numel()]
        return (fitting or known)[0]

    def of(self, tensor: Tensor) -> Origin | None:
        """Return where a tensor comes from; None if it depends on the network's input."""
        if tensor in self.copies:
            return self.copies[tensor]
        base = self.base(tensor)
        if base is None:
            return None
        name, parameter = base
        product = product_of(name)
        if not parameter.is_contiguous():
            return Origin(product)
        first, step = tensor.storage_offset() - parameter.storage_offset(), parameter.stride(0) or 1
        if parameter.dim() == 2:
            return Origin(region(product, first, reach(tensor), parameter))
        if parameter.dim() != 3:
            return Origin(product)
        slices = torch.full((1,) * tensor.dim(), first // step, dtype=torch.int32)
        for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            if stride >= step and size > 1:
                along = torch.arange(size, dtype=torch.int32) * (stride // step)
                slices = slices + along.view([-1 if a == axis else 1 for a in range(tensor.dim())])
        return Origin(product, slices.expand(tensor.shape), self.experts(name, len(parameter)))

    def experts(self, name: str, count: int) -> bool:
        """Whether the ``count`` slices of a parameter are experts, by its name or a router's."""
        if name not in self.expert_parameters:
            self.expert_parameters[name] = self.looks_like_experts(name, count)
        return self.expert_parameters[name]

    def looks_like_experts(self, name: str, count: int) -> bool:
        """Look at the names of a parameter and its module, and for a router beside it."""
        owner = name.rpartition(".")[0]
        module = self.model.get_submodule(owner)
        words = f"{name} {type(module).__name__}".lower()
        if re.search(r"expert|moe|mixture", words):
            return True
        above = self.model.get_submodule(owner.rpartition(".")[0])
        return any(count in parameter.shape and ROUTERS & set(key.split("."))
                   for each in (module, above) for key, parameter in each.named_parameters())

    def follow(self, func: Any, args: tuple, kwargs: dict, inputs: list[Tensor],
               results: list[Tensor]) -> None:
        """Note what an operator made of parameters alone, and what it wrote over."""
        if func._schema.is_mutable:
            self.overwrite(func, args, inputs)
            return
        if func is aten.embedding.default:
            return
        floats = [each for each in inputs if each.dim() and (
            each.is_floating_point() or func is aten._to_copy.default)]
        origins = [self.of(each) for each in floats]
        others = [each for each in inputs if not each.is_floating_point() and each.dim()]
        if not floats or None in origins or (
                func not in LOOKUPS and any(self.of(each) is None for each in others)):
            return
        largest = max(range(len(floats)), key=lambda index: floats[index].numel())
        source, origin = floats[largest], origins[largest]
        slices = origin.slices
        if slices is not None and func in VIEWS:
            parts = [slices.reshape(results[0].shape)]
        elif slices is not None and func in MOVES:
            moved = {id(each): self.of(each).slices for each in floats}
            after = func(*swapped(args, moved), **swapped(kwargs, moved)) if all(
                each is not None for each in moved.values()) else [None] * len(results)
            parts = [after] if isinstance(after, Tensor) else list(after)
        else:
            parts = [slices if each.shape == source.shape else None for each in results]
        for result, part in zip(results, parts, strict=True):
            if result.is_floating_point() and self.base(result) is None:
                self.copies[result] = origin._replace(slices=part)

    def overwrite(self, func: Any, args: tuple, inputs: list[Tensor]) -> None:
        """Forget the origin of what an operator writes, unless a parameter is its only source."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            for target in value if isinstance(value, list | tuple) else [value]:
                if isinstance(target, Tensor) and any(
                        self.of(each) is None for each in inputs if each is not target):
                    self.copies.pop(target, None)
                    self.overwritten.add(place(target))


def reach(tensor: Tensor) -> int:
    """Return how far behind its first element a tensor's last one is in memory."""
    return sum((size - 1) * stride
               for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def product_of(parameter: str) -> Named:
    """Return the product with a parameter of this name."""
    return recognize(SUFFIXES.sub("", parameter))


def region(product: Named, first: int, reach: int, parameter: Tensor) -> Named:
    """Return the product with a part of a matrix, itself for the whole.

    The part goes from element ``first`` to the one that is ``reach`` behind it.
    """
    rows, depth = parameter.shape
    (top, left), (bottom, right) = divmod(first, depth), divmod(first + reach, depth)
    count = bottom + 1 - top
    if count < rows and rows % 3 == 0 and not top % (rows // 3) and not count % (rows // 3):
        product = product.known_as(THIRDS[top * 3 // rows, (top + count) * 3 // rows])
    elif count < rows:
        product = product.known_as(f"rows_{top}_{bottom + 1}")
    whole = (left, right) == (0, depth - 1)
    return product if whole else product.known_as(f"columns_{left}_{right + 1}")


def place(tensor: Tensor) -> int:
    """Return the address of a tensor's memory, 0 where it has none, as sparse and dual ones."""
    if nn.parameter.is_lazy(tensor) or tensor.layout is not torch.strided:
        return 0
    try:
        return tensor.untyped_storage().data_ptr()
    except RuntimeError:
        return 0


def tensors_in(values: Any) -> list[Tensor]:
    """Return all tensors in arguments or results, those of lists included."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    if not isinstance(values, Iterable) or isinstance(values, str):
        return []
    return [each for value in values for each in tensors_in(value)]


def swapped(values: Any, by: dict[int, Tensor]) -> Any:
    """Return arguments with tensors replaced, by their identity."""
    if isinstance(values, Tensor):
        return by.get(id(values), values)
    if isinstance(values, dict):
        return {key: swapped(value, by) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(swapped(value, by) for value in values)
    return values
