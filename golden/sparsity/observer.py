"""Watches a PyTorch module run, operator by operator, below the functions that a network calls."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count, pairwise
from math import prod
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Named, recognize
from deltamoe.golden.sparsity.origins import MOVES, Origin, Origins, tensors_in
from deltamoe.golden.sparsity.pieces import pieces

aten = torch.ops.aten

SDPA = aten.scaled_dot_product_attention.default
BAGS = {aten._embedding_bag.default, aten._embedding_bag_forward_only.default}
"""Sums of rows of a table, which multiply only if each row has a weight."""

PRODUCTS = {aten.mm.default: 0, aten.bmm.default: 0, aten.mv.default: 0, aten.addmm.default: 1,
            aten.baddbmm.default: 1, aten.addmv.default: 1}
"""Matrix products, and which argument is the left operand."""

UNCOUNTED = {
    "_addmm_activation", "_cdist_forward", "_cslt_sparse_mm", "_cudnn_rnn",
    "_dyn_quant_matmul_4bit", "_euclidean_dist", "_fft_c2c", "_fft_c2r", "_fft_r2c",
    "_grouped_mm", "_int_mm", "_linalg_det", "_linalg_eigh", "_linalg_eigvals",
    "_linalg_slogdet", "_linalg_solve_ex", "_linalg_svd",
    "_native_multi_head_attention", "_pdist_forward",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_grouped_mm", "_scaled_mm_v2",
    "_sparse_addmm", "_sparse_mm_reduce_impl", "_sparse_semi_structured_addmm",
    "_sparse_semi_structured_mm", "_sparse_sparse_matmul", "_thnn_fused_gru_cell",
    "_thnn_fused_lstm_cell", "_transformer_encoder_layer_fwd", "_trilinear",
    "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu", "_weight_int8pack_mm", "addbmm",
    "addmv", "addr", "cholesky_inverse", "cholesky_solve", "conv_tbc", "dot", "geqrf",
    "linalg_cholesky_ex", "linalg_eig", "linalg_householder_product", "linalg_inv_ex",
    "linalg_ldl_factor_ex", "linalg_ldl_solve", "linalg_lstsq", "linalg_lu",
    "linalg_lu_factor_ex", "linalg_lu_solve", "linalg_matrix_exp", "linalg_pinv", "linalg_qr",
    "linalg_solve_triangular", "linalg_vecdot", "miopen_rnn", "mkldnn_convolution",
    "mkldnn_linear", "mkldnn_rnn_layer", "ormqr", "smm", "sparse_sampled_addmm", "sspaddmm",
    "triangular_solve", "vdot"}
"""Operators that multiply, and for which PyTorch has no formula of how often."""

KNOWN = {"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional"}
"""Namespaces whose operators are PyTorch's own; of others it is not known what they do."""

SOFTMAX = {aten.softmax.int, aten._softmax.default, aten._safe_softmax.default}

ACTIVATIONS = {packet for name in (
    "relu", "relu_", "gelu", "gelu_", "silu", "silu_", "sigmoid", "tanh", "mish", "softplus", "elu",
    "leaky_relu", "hardswish", "hardtanh", "hardsigmoid", "clamp", "clamp_min", "square", "erf",
    "threshold", "relu6", "celu", "selu", "log_sigmoid", "glu", "maximum")
    if (packet := getattr(aten, name, None)) is not None}

SUMS = {aten.add, aten.add_, aten.sub, aten.sub_, aten.rsub}

ELEMENTWISE = {aten.mul.Tensor: 0, aten.mul_.Tensor: 0, aten.addcmul.default: 1,
               aten.addcmul_.default: 1}
"""Products by element, and which argument is the first factor."""

TOTALS = {aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim}
"""Operators that add elements of one tensor."""


class Tag(NamedTuple):
    """What a tensor was made of: products, whether behind an activation, an attention's scores.

    ``products`` is how many products of two elements it consists of that are not counted yet.
    """

    sources: frozenset[Named] = frozenset()
    activated: bool = False
    scores: "Scores | None" = None
    softmax: bool = False
    products: int = 0


@dataclass(eq=False)
class Scores:
    """A product of two results, (B, M, K) and (B, K, N), that may be an attention's scores."""

    where: str
    left: Tensor
    right: Tensor
    sources: tuple[frozenset[Named], frozenset[Named]]
    macs: int
    used: bool = False


class Attention(NamedTuple):
    """Both operands of an attention: queries (H, T, Dh), probabilities (H, T, S), keys (Hk, S, Dh).

    ``width`` is that of a head's values.
    """

    queries: Tensor
    probabilities: Tensor
    keys: Tensor
    width: int


class Observer(TorchDispatchMode):
    """Operands of one run.

    Attributes
    ----------
    operands : dict of Named to list of Tensor
        By product, in order: rows (R, K) of a product with a parameter for each call; of an
        attention's ``scores`` and ``values`` the queries and the probabilities (H, T, K).
    attentions : dict of str to Attention
        By name without ``scores``.
    results : dict of Named to list of Tensor
        Rows (R, N) of the products that are called as ``routers``.
    weights : dict of Named to Tensor
        By product (N, K), of all runs.
    roles : dict of Named to str
        What a product is of its block, by what its operand and its result are used for.
    attended : set of Named
        The products of the attentions of all runs.
    widths : dict of Named to int
        By product of values how wide a head's are, if its keys are not.
    counted, seen : int
        Multiplications of all products in all runs, and of those recorded.
    unseen : Counter
        Those that are not recorded, by module and operator; 0 where it is not known how many.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module, routers: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.origins, self.routers = Origins(model), routers
        self.within: list[str] = []
        self.thread = get_ident()
        self.weights: dict[Named, Tensor] = {}
        self.roles: dict[Named, str] = {}
        self.attended: set[Named] = set()
        self.widths: dict[Named, int] = {}
        self.counted = self.seen = 0
        self.unseen: Counter[str] = Counter()
        self.clear()

    def clear(self) -> None:
        """Forget the operands of the last run."""
        self.operands: dict[Named, list[Tensor]] = {}
        self.results: dict[Named, list[Tensor]] = {}
        self.attentions: dict[str, Attention] = {}
        self.pending: list[Scores] = []
        self.tags: Any = WeakTensorKeyDictionary()
        self.within.clear()

    def finish(self) -> None:
        """End a run: what was not part of an attention is unseen."""
        for scores in self.pending:
            if not scores.used:
                self.miss(scores.where, scores.macs)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        """Run an operator, and keep the operands of a product."""
        if any(kind.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl
               for kind in types):
            return NotImplemented
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            return self.higher_order(func, args, kwargs)
        if func not in PRODUCTS and func is not SDPA:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if func is SDPA:
            self.attention(result, *args, **kwargs)
        elif func in PRODUCTS:
            self.matrices(func, args, result)
        elif func is aten.convolution.default:
            self.convolution(result, *args)
        else:
            inputs, results = tensors_in((args, kwargs)), tensors_in(result)
            self.origins.follow(func, args, kwargs, inputs, results)
            if not self.multiplied(func, args, kwargs, result):
                self.follow(func, inputs, results)
                self.elements(func, args, result)
        return result

    def higher_order(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Run an operator that calls functions, ``cond`` for example, and watch these too.

        One with a formula of how often it multiplies runs as a whole.
        """
        formula = flop_registry.get(func)
        if formula is None:
            return func(*map(self.watched, args), **kwargs)
        result = func(*args, **kwargs)
        macs = formula(*args, **kwargs, out_val=result) // 2
        self.counted += macs
        self.miss(self.place(func), macs)
        return result

    def watched(self, value: Any) -> Any:
        """Return a function that is observed when it is called; other values as they are."""
        if isinstance(value, Tensor) or not callable(value):
            return value

        def observed(*args: Any) -> Any:
            with self:
                return value(*args)
        return observed

    def elements(self, func: Any, args: tuple, result: Any) -> None:
        """Count a matrix product that is spelled by element, as ``(a * b).sum(-1)``; no square.

        Of two results of products an outer product counts without the sum, which other operators
        may take, as in attention that is linear.
        """
        if func in ELEMENTWISE and result.is_floating_point():
            factors = args[ELEMENTWISE[func]:][:2]
            if not all(isinstance(each, Tensor) and each.numel() > 1 for each in factors) or (
                    factors[0] is factors[1]):
                return
            macs, tag = result.numel(), self.tags.get(result, Tag())
            outer = macs > max(each.numel() for each in factors)
            if outer and all(each in self.tags and self.tags[each].sources for each in factors):
                self.counted += macs
                self.miss(self.place(func), macs)
                macs = 0
            self.tags[result] = tag._replace(products=macs)
        elif func in TOTALS and args[0] in self.tags and self.tags[args[0]].products:
            macs = self.tags[args[0]].products
            if result.numel() < macs:
                self.counted += macs
                self.miss(f"{self.place(func)[:-1]} of products)", macs)

    def multiplied(self, func: Any, args: tuple, kwargs: dict, result: Any) -> bool:
        """Count what an operator multiplies that is not recorded; return whether it does."""
        name = func.overloadpacket.__name__.removesuffix("_")
        formula = flop_registry.get(getattr(aten, name, None)) if func.namespace == "aten" else None
        if formula is not None:
            macs = formula(*args, **{key: value for key, value in kwargs.items() if key != "out"},
                           out_val=result) // 2
            self.counted += macs
            self.miss(self.place(func), macs)
        elif name in UNCOUNTED or (func.namespace not in KNOWN and tensors_in(result)) or (
                func in BAGS and weighted(func, args, kwargs)):
            self.unseen.setdefault(self.place(func), 0)
        else:
            return False
        return True

    def place(self, func: Any) -> str:
        """Return the module that runs, and the operator."""
        name = func.name() if isinstance(func, HigherOrderOperator) else (
            func.overloadpacket.__name__)
        module = self.within[-1] if self.within else ""
        return f"{module or type(self.origins.model).__name__} ({name})"

    def miss(self, where: str, macs: int) -> None:
        """Count multiplications that are not recorded."""
        if macs:
            self.unseen[where] += macs

    def follow(self, func: Any, inputs: list[Tensor], results: list[Tensor]) -> None:
        """Pass on what results are made of."""
        known = [self.tags[each] for each in inputs if each in self.tags]
        if not known:
            return
        sources = frozenset().union(*(tag.sources for tag in known))
        if func.overloadpacket in SUMS and (
                len({tag.sources for tag in known}) > 1 or any(
                    each not in self.tags and self.origins.of(each) is None and each.dim()
                    and each.is_floating_point() for each in inputs)):
            sources = frozenset()
        tag = Tag(sources,
                  func.overloadpacket in ACTIVATIONS or any(tag.activated for tag in known),
                  next((tag.scores for tag in known if tag.scores), None),
                  func in SOFTMAX or any(tag.softmax for tag in known),
                  sum(tag.products for tag in known) if func in MOVES else 0)
        for result in results:
            self.tags[result] = tag

    def matrices(self, func: Any, args: tuple, result: Tensor) -> None:
        """Enter a product of two matrices, or of batches of them.

        Of a sparse operand it is not known how many multiplications it takes.
        """
        left, right = args[PRODUCTS[func]:][:2]
        if any(each.layout is not torch.strided for each in (left, right)):
            self.unseen.setdefault(self.place(func), 0)
            return
        a = left if left.dim() == 3 else left[None]
        b = right if right.dim() == 3 else right[None] if right.dim() == 2 else right[None, :, None]
        macs = prod(a.shape) * b.shape[-1]
        if result.is_complex():
            macs *= 4
        self.counted += macs
        if not macs:
            return
        if result.is_complex():
            self.miss(self.place(func), macs)
            return
        outcome = result.detach().view(len(a), a.shape[1], b.shape[2])
        from_left, from_right = self.origins.of(left), self.origins.of(right)
        if from_left is not None and from_left.computed:
            from_left = None
        if from_right is not None:
            self.product(from_right.shaped(b.shape), a, b, outcome, self.tags.get(left), result)
        elif from_left is not None:
            self.product(from_left.shaped(a.shape).transposed(), b.mT, a.mT, outcome.mT,
                         self.tags.get(right), result)
        else:
            self.activations(func, (left, a), (right, b), result)
            return
        self.seen += macs
        if from_left is not None and from_right is not None:
            self.origins.copies[result] = Origin(from_right.product, computed=True)

    def product(self, origin: Origin, x: Tensor, weight: Tensor, outcome: Tensor, tag: Tag | None,
                result: Tensor) -> None:
        """Enter the products of (B, M, K) with the parts (B, K, N) of a parameter."""
        products = set()
        for piece, rows, columns, results in pieces(origin, x, weight, outcome):
            product = self.told_apart(piece, copied(columns))
            self.operands.setdefault(product, []).append(copied(rows))
            if str(product) in self.routers:
                self.results.setdefault(product, []).append(copied(results))
            products.add(product)
        if tag is not None:
            self.role(products, x.shape[-1], tag)
        self.tags[result] = Tag(frozenset(products))

    def told_apart(self, product: Named, weight: Tensor) -> Named:
        """Enter a product's weights; if it has others already, those of its next use."""
        uses = chain([product], (product.known_as(f"use_{number}") for number in count(2)))
        free = next(each for each in uses if each not in self.weights
                    or torch.equal(self.weights[each], weight))
        self.weights.setdefault(free, weight)
        return free

    def role(self, products: set[Named], depth: int, tag: Tag) -> None:
        """Note what products are that use what others made."""
        if any(source in self.attended for source in tag.sources):
            self.roles |= dict.fromkeys(products - self.roles.keys(), "proj")
        elif tag.activated:
            before = [source for source in tag.sources
                      if len(self.weights.get(source, ())) in (depth, 2 * depth)]
            for source in before:
                self.roles.setdefault(source, "fc1")
            if before:
                self.roles |= dict.fromkeys(products - self.roles.keys(), "fc2")

    def activations(self, func: Any, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor],
                    result: Tensor) -> None:
        """Take a product of two results for an attention's values, or keep it for its scores."""
        macs = prod(left[1].shape) * right[1].shape[-1]
        tags = [self.tags.get(tensor, Tag()) for tensor, _ in (left, right)]
        pairs = ((tags[0], left[1], right[1]), (tags[1], right[1].mT, left[1].mT))
        for tag, weights, values in pairs:
            scores = tag.scores
            if scores is None or not tag.softmax or scores.used:
                continue
            queries, keys, makers = scores.left, scores.right.mT, scores.sources
            if keys_first(weights, queries, keys):
                queries, keys, makers = keys, queries, makers[::-1]
            if tuple(weights.shape) != (len(queries), queries.shape[1], keys.shape[1]):
                continue
            scores.used = True
            self.seen += scores.macs + macs
            self.attend(Attention(copied(queries), copied(weights), shared(copied(keys)),
                                  values.shape[-1]),
                        (*makers, self.tags.get(right[0] if tag is tags[0] else left[0],
                                                Tag()).sources), result)
            return
        scores = Scores(self.place(func), left[1].detach(), right[1].detach(),
                        (tags[0].sources, tags[1].sources), macs)
        self.pending.append(scores)
        self.tags[result] = Tag(scores=scores)

    def attention(self, result: Tensor, query: Tensor, key: Tensor, value: Tensor,
                  *args: Any, **kwargs: Any) -> None:
        """Enter an attention in one operator; its probabilities are its result on an identity."""
        macs = prod(query.shape[:-1]) * key.shape[-2] * (key.shape[-1] + value.shape[-1])
        self.counted += macs
        self.seen += macs
        size = key.shape[-2]
        identity = torch.eye(size, dtype=value.dtype, device=value.device).expand(
            *value.shape[:-2], size, size)
        e = SDPA(query, key, identity, *args, **kwargs)
        self.attend(Attention(heads(query), heads(e), heads(key), value.shape[-1]),
                    tuple(self.tags.get(each, Tag()).sources for each in (query, key, value)),
                    result)

    def attend(self, attention: Attention, sources: tuple[frozenset[Named], ...],
               result: Tensor) -> None:
        """Enter an attention, and note what made its operands."""
        owner = self.within[-1] if self.within else ""
        whose = recognize(owner)
        makers = [source for source in sorted(sources[0], key=str) if source.layer >= 0]
        if whose.layer < 0 and makers:
            whose = makers[0]
            owner = whose.owner
        stem = f"{owner}.attention".removeprefix(".")
        name, number = stem, 1
        while name in self.attentions:
            number += 1
            name = f"{stem}{number}"
        self.attentions[name] = attention
        scores, values = (replace(whose, name=f"{name}.{part}", part=part, owner=name)
                          for part in (Part.SCORES, Part.VALUES))
        self.attended |= {scores, values}
        if attention.width != attention.keys.shape[-1]:
            self.widths[values] = attention.width
        self.operands[scores] = [attention.queries]
        self.operands[values] = [attention.probabilities]
        uses: dict[Named, str] = {}
        for kind, products in zip("qkv", sources, strict=True):
            for source in products:
                uses[source] = uses.get(source, "") + kind
        for source, kinds in uses.items():
            if kinds in {"q", "k", "v", "kv", "qkv"} and source not in self.attended:
                self.roles.setdefault(source, kinds)
        self.tags[result] = Tag(frozenset({values}))

    def convolution(self, result: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None,
                    stride: list[int], padding: list[int], dilation: list[int], transposed: bool,
                    output_padding: list[int], groups: int) -> None:
        """Enter a convolution whose windows do not overlap as a product with patches."""
        origin, size = self.origins.of(weight), weight.shape[2:]
        macs = prod(result.shape) * weight.shape[1:].numel() if not transposed else (
            prod(x.shape) * weight.shape[1:].numel())
        if result.is_complex():
            macs *= 4
        self.counted += macs
        overlaps = any(wide > step for wide, step in zip(size, stride, strict=True))
        if origin is None or transposed or groups > 1 or overlaps or result.is_complex() or any(
                wide > 1 and gap > 1 for wide, gap in zip(size, dilation, strict=True)):
            self.miss(self.place(aten.convolution.default), macs)
            return
        for axis, (wide, step, pad) in enumerate(zip(size, stride, padding, strict=True), 2):
            edge = [0, 0] * (x.dim() - 1 - axis) + [pad, pad]
            x = nn.functional.pad(x, edge) if pad else x
            x = x.unfold(axis, wide, step)
        axes = range(2, 2 + len(size))
        rows = x.permute(0, *axes, 1, *range(2 + len(size), x.dim())).reshape(
            1, -1, weight[0].numel())
        outcome = result.detach().movedim(1, -1).reshape(1, -1, len(weight))
        self.product(Origin(origin.product, None), rows, weight.detach().flatten(1).mT[None],
                     outcome, None, result)
        self.seen += macs
        if size.numel() > 1:
            self.roles.setdefault(origin.product, "patch")

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Have hooks on all modules, and none afterwards."""
        hooks = []
        try:
            for name, module in model.named_modules():
                if not isinstance(module, torch.jit.RecursiveScriptModule):
                    hooks.append(module.register_forward_pre_hook(self.entering(name)))
                    hooks.append(module.register_forward_hook(self.leaving, always_call=True))
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def entering(self, name: str) -> Any:
        """Return a hook that notes which module runs."""
        def enter(module: nn.Module, arguments: tuple) -> None:
            if get_ident() == self.thread:
                self.within.append(name)
            else:
                self.unseen.setdefault(f"{name} (in another thread)", 0)
        return enter

    def leaving(self, module: nn.Module, arguments: tuple, result: Any) -> None:
        """Note that a module has run."""
        if self.within and get_ident() == self.thread:
            self.within.pop()


def weighted(func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether a sum of rows of a table has a weight for each row."""
    place = [each.name for each in func._schema.arguments].index("per_sample_weights")
    return (args[place] if place < len(args) else kwargs.get("per_sample_weights")) is not None


def copied(x: Tensor) -> Tensor:
    """Return a copy in single precision on the host."""
    return x.detach().float().cpu().clone(memory_format=torch.contiguous_format)


def heads(x: Tensor) -> Tensor:
    """Return a copy of (..., T, K) as (H, T, K)."""
    return copied(x.reshape(-1, *x.shape[-2:]))


def keys_first(weights: Tensor, one: Tensor, other: Tensor) -> bool:
    """Whether the scores ``one other^T`` had keys as rows, unlike the probabilities (B, T, S).

    If there are as many of both, the logarithms of the probabilities tell: along a row they are
    the scores, up to a mask, a factor and a constant.
    """
    if one.shape[1] != other.shape[1]:
        return weights.shape[1] != one.shape[1]
    scores, possible = one.double() @ other.double().mT, weights > 0
    logits = weights.double().clamp(min=1e-300).log()
    fit = [float(deviation(logits, possible).mul(deviation(each, possible)).sum()
                 / deviation(each, possible).norm().clamp(min=1e-30))
           for each in (scores, scores.mT)]
    return fit[1] > fit[0]


def deviation(x: Tensor, possible: Tensor) -> Tensor:
    """Return how far (B, T, S) is from its mean over the possible elements of each row."""
    mean = (x * possible).sum(-1, keepdim=True) / possible.sum(-1, keepdim=True).clamp(min=1)
    return (x - mean) * possible


def shared(keys: Tensor) -> Tensor:
    """Return keys (H, T, Dh) without the repetitions of those that neighboring heads share."""
    alike = [bool(torch.equal(one, other)) for one, other in pairwise(keys)]
    group = next((index + 1 for index, same in enumerate(alike) if not same), len(keys))
    if len(keys) % group:
        return keys
    first = keys.unflatten(0, (-1, group))[:, :1]
    return first.flatten(0, 1) if torch.equal(
        first.expand(-1, group, -1, -1).flatten(0, 1), keys) else keys
