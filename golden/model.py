"""M³ViT in floating point (Liang et al., NeurIPS 2022): read it top to bottom.

Shapes: T tokens, D embed_dim, H heads, Dh head_dim, E experts, F hidden width.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deltamoe.golden.arithmetic.gate import top_k_experts
from deltamoe.golden.config import ModelConfig


class Site(NamedTuple):
    """Where a value of the network is: what it is, of which block, and whose.

    ``kind`` is ``in``, the input of the first block; ``norm1``, ``qkv``, ``context``, ``middle``,
    ``norm2``, ``gate``, ``hidden`` or ``out`` of a block; ``norm``; ``scores`` of a task.
    """

    kind: str
    layer: int | None = None
    task: int | None = None

    def __str__(self) -> str:
        return ".".join(str(word) for word in (self.layer, self.kind, self.task)
                        if word is not None)


Observer = Callable[[Site, Tensor], None]
"""What is called with every intermediate value."""

Inner = Callable[[str, Tensor], None]
"""The same within a block, which does not know its number: by kind."""


def within(observe: Observer, layer: int) -> Inner:
    """Return what observes a block."""
    return lambda kind, value: observe(Site(kind, layer), value)


def nothing(site: Site, value: Tensor) -> None:
    """Observe nothing."""


class QuickGelu(nn.Module):
    """GELU by a logistic function, as CLIP has it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map element by element."""
        return x * (1.702 * x).sigmoid()


def activation(name: str) -> nn.Module:
    """Make an activation of :data:`deltamoe.golden.config.ACTIVATIONS`."""
    return {"gelu": nn.GELU, "gelu-tanh": partial(nn.GELU, "tanh"), "quick-gelu": QuickGelu,
            "relu": nn.ReLU, "silu": nn.SiLU}[name]()


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, h: Tensor, observe: Inner) -> Tensor:
        """Map (..., T, D) to (..., T, D)."""
        *batch, tokens, _ = h.shape
        qkv = self.qkv(h).view(*batch, tokens, 3, self.num_heads, -1)
        q, k, v = qkv.movedim(-3, 0).transpose(-3, -2)           # each (..., H, T, Dh)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)   # (..., H, T, T)
        out = (weights @ v).transpose(-3, -2).flatten(-2)        # (..., T, D)
        observe("qkv", qkv.flatten(-3))                          # (..., T, 3D)
        observe("context", out)
        return self.proj(out)


class Mlp(nn.Module):
    """Dense two-layer perceptron."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.hidden_dim)
        self.activation = activation(config.activation)
        self.fc2 = nn.Linear(config.hidden_dim, config.embed_dim)

    def forward(self, h: Tensor, observe: Inner) -> Tensor:
        """Map (..., T, D) to (..., T, D)."""
        hidden = self.fc1(h)                                     # (..., T, F)
        observe("hidden", hidden)
        return self.fc2(self.activation(hidden))


class Gate(nn.Module):
    """One task's router, without bias."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.w_gate = nn.Parameter(torch.randn(dim, experts) * dim**-0.5)   # (D, E)


class Experts(nn.Module):
    """One linear layer of every expert."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, outputs, inputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(experts, outputs))


class Moe(nn.Module):
    """Experts behind one gate per task: softmax over all, then top-k, not renormalized."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        e, d, f = config.num_experts, config.embed_dim, config.expert_dim
        self.top_k = config.top_k
        self.gate = nn.ModuleList(Gate(d, e) for _ in range(config.num_tasks))
        self.experts = nn.ModuleDict({"htoh4": Experts(e, d, f), "h4toh": Experts(e, f, d)})
        self.activation = activation(config.activation)

    def forward(self, h: Tensor, task: int, observe: Inner,
                experts: Tensor | None = None) -> Tensor:
        """Map (..., T, D) to (..., T, D); ``experts`` (..., T, k) forces the routing."""
        logits = h @ self.gate[task].w_gate                      # (..., T, E)
        if experts is None:
            experts = top_k_experts(logits, self.top_k)
        probabilities = logits.softmax(-1)
        weights = torch.zeros_like(logits).scatter(
            -1, experts, probabilities.gather(-1, experts))      # zero where not chosen
        first, second = self.experts["htoh4"], self.experts["h4toh"]
        hidden = torch.einsum("...td,efd->...tef", h, first.weight) + first.bias
        out = torch.einsum("...tef,edf->...ted", self.activation(hidden), second.weight)
        observe("gate", logits)
        observe("hidden", hidden[weights > 0])
        return ((out + second.bias) * weights[..., None]).sum(-2)


def norm(config: ModelConfig) -> nn.Module:
    """Make a normalization of rows; that by their root mean square alone has no bias."""
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.embed_dim, eps=config.norm_epsilon)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.norm1 = norm(config)
        self.attn = Attention(config)
        self.norm2 = norm(config)
        self.is_moe = config.is_moe(layer)
        self.mlp = (Moe if self.is_moe else Mlp)(config)

    def forward(self, x: Tensor, task: int, observe: Inner,
                experts: Tensor | None = None) -> Tensor:
        """Map (..., T, D) to (..., T, D)."""
        h = self.norm1(x)
        observe("norm1", h)
        x = x + self.attn(h, observe)
        observe("middle", x)
        h = self.norm2(x)
        observe("norm2", h)
        x = x + (self.mlp(h, task, observe, experts) if self.is_moe else self.mlp(h, observe))
        observe("out", x)
        return x


class M3ViT(nn.Module):
    """Mixture-of-experts vision transformer with several tasks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(
            config.image_channels, config.embed_dim, config.patch_size, config.patch_size)})
        self.cls_token = nn.Parameter(
            torch.randn(1, config.prefix_tokens, config.embed_dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, config.num_tokens, config.embed_dim) * 0.02)
        self.blocks = nn.ModuleList(Block(config, n) for n in range(config.num_layers))
        if config.num_classes:
            self.norm = norm(config)
            self.head = nn.ModuleList(
                nn.Linear(config.embed_dim, classes) for classes in config.num_classes)

    def forward(self, pixels: Tensor, task: int = 0, observe: Observer = nothing,
                experts: dict[int, Tensor] | None = None) -> tuple[Tensor, Tensor | None]:
        """Map pixels (..., C, height, width) in 0..255 to tokens (..., T, D) and class scores.

        ``observe`` is called with every intermediate value; ``experts`` forces
        the (..., T, k) routing of these layers.
        """
        patches = patchify(pixels, self.config.patch_size) / 256  # (..., patches, patch_dim)
        proj = self.patch_embed["proj"]
        embedded = patches @ proj.weight.flatten(1).T + proj.bias  # (..., patches, D)
        tokens = self.cls_token[0].expand(*embedded.shape[:-2], -1, -1)
        x = torch.cat([tokens, embedded], -2) + self.pos_embed[0]  # (..., T, D)
        observe(Site("in"), x)
        for layer, block in enumerate(self.blocks):
            x = block(x, task, within(observe, layer), (experts or {}).get(layer))
        if not self.config.num_classes:
            return x, None
        h = self.norm(x[..., 0, :])
        observe(Site("norm"), h)
        scores = self.head[task](h)
        observe(Site("scores", task=task), scores)
        return x, scores


def patchify(pixels: Tensor, size: int) -> Tensor:
    """Map (..., C, height, width) to patches (..., N, C * size * size), row by row."""
    *batch, channels, height, width = pixels.shape
    tiles = pixels.reshape(*batch, channels, height // size, size, width // size, size)
    order = [*range(len(batch)), *(len(batch) + axis for axis in (1, 3, 0, 2, 4))]
    return tiles.permute(order).reshape(*batch, -1, channels * size * size)


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights; the names are those of M³ViT's training code."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in M3ViT(config).state_dict().items()}


def build(config: ModelConfig, weights: dict[str, Tensor]) -> M3ViT:
    """Make a network from its weights."""
    model = M3ViT(config)
    model.load_state_dict(weights)
    return model.eval()
