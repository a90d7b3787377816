"""Watches a PyTorch module run: linear layers by hooks, attention by the function called."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from golden.sparsity.names import layer


class Observer(TorchFunctionMode):
    """Operands of one run.

    Attributes
    ----------
    operands : dict of str to list of Tensor
        By product, in order: rows (R, K) of a linear layer for each call; of an attention's
        ``scores`` and ``values`` the queries and the probabilities (H, T, K).
    keys : dict of int to Tensor
        By layer (H, T, Dh).
    results : dict of str to list of Tensor
        Rows (R, N) that linear layers made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.within: list[str] = []
        self.clear()

    def clear(self) -> None:
        """Forget the last run."""
        self.operands: dict[str, list[Tensor]] = {}
        self.results: dict[str, list[Tensor]] = {}
        self.keys: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        """Run a function of PyTorch, and keep the operands of an attention."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            self.attention(*args, **kwargs)
        return func(*args, **kwargs)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
                  ) -> None:
        """Keep a self-attention with as many keys' heads as queries'; one a layer."""
        name = f"{self.within[-1]}.attention".removeprefix(".") if self.within else "attention"
        if query.shape != key.shape or layer(name) in self.keys:
            return
        identity = torch.eye(key.shape[-2], dtype=value.dtype, device=value.device).expand(
            *key.shape[:-1], -1)
        e = functional.scaled_dot_product_attention(query, key, identity, *args, **kwargs)
        self.operands[f"{name}.scores"] = [heads(query)]
        self.operands[f"{name}.values"] = [heads(e)]
        self.keys[layer(name)] = heads(key)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Have hooks on all modules, and none afterwards."""
        hooks = []
        for name, module in model.named_modules():
            hooks += [module.register_forward_pre_hook(self.entering(name)),
                      module.register_forward_hook(self.leaving(name), with_kwargs=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def entering(self, name: str) -> Any:
        """Return a hook that notes which module runs."""
        def enter(module: nn.Module, arguments: tuple) -> None:
            self.within.append(name)
        return enter

    def leaving(self, name: str) -> Any:
        """Return a hook that keeps a linear layer's operand and result."""
        def leave(module: nn.Module, arguments: tuple, options: dict, result: Any) -> None:
            self.within.pop()
            if isinstance(module, nn.Linear):
                x = arguments[0] if arguments else options["input"]
                self.operands.setdefault(name, []).append(rows(x))
                self.results.setdefault(name, []).append(rows(result))
        return leave


def rows(x: Tensor) -> Tensor:
    """Return a copy of (..., K) as (R, K)."""
    return x.detach().reshape(-1, x.shape[-1]).float().cpu().clone()


def heads(x: Tensor) -> Tensor:
    """Return a copy of (..., T, K) as (H, T, K)."""
    return x.detach().reshape(-1, *x.shape[-2:]).float().cpu().clone()
