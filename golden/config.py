"""What is computed: the dimensions of one network, validated, with named presets."""

from dataclasses import dataclass

NORMS = ("layer", "rms")
"""How a network may normalize rows."""

ACTIVATIONS = ("gelu", "gelu-tanh", "quick-gelu", "relu", "silu")
"""What may be between the two layers of an MLP; each is a table in the hardware."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Dimensions of a vision transformer with or without a mixture of experts.

    Attributes
    ----------
    name : str
        Preset name, stored with the quantized weights.
    image_channels, image_height, image_width, patch_size : int
        Input image and its square patches, in pixels.
    embed_dim, num_layers, num_heads : int
        Width of a token, blocks, attention heads.
    hidden_dim : int
        Hidden width of the dense MLP, in even blocks or, without experts, in all of them.
    num_experts, top_k, expert_dim : int
        Experts of each odd block, experts per token, hidden width of one expert; all 0 in a
        plain vision transformer.
    num_tasks : int
        Tasks, each with its own gates. They share the experts.
    num_classes : tuple of int
        Classes of each task. Empty: no final normalization and no head, the output is the tokens.
    norm : str
        How rows are normalized: ``layer``, LayerNorm, or ``rms``, RMSNorm.
    norm_epsilon : float
        What is added to a row's variance, or mean square.
    activation : str
        One of :data:`ACTIVATIONS`.
    prefix_tokens : int
        Tokens before those of the patches: the class token, which is the first, and others such
        as registers. Without any there is no head.
    """

    name: str
    image_channels: int
    image_height: int
    image_width: int
    patch_size: int
    embed_dim: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    num_experts: int = 0
    top_k: int = 0
    expert_dim: int = 0
    num_tasks: int = 1
    num_classes: tuple[int, ...] = ()
    norm: str = "layer"
    norm_epsilon: float = 1e-6
    activation: str = "gelu"
    prefix_tokens: int = 1

    def __post_init__(self) -> None:
        for field in ("image_channels", "image_height", "image_width", "patch_size", "embed_dim",
                      "num_layers", "num_heads", "hidden_dim", "num_tasks"):
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                raise ValueError(f"{field}={value!r} is not a positive integer")
        for field in ("num_experts", "top_k", "expert_dim"):
            value = getattr(self, field)
            if type(value) is not int or (value < 1 if self.num_experts else value != 0):
                allowed = "a positive integer" if self.num_experts else "0 without experts"
                raise ValueError(f"{field}={value!r} is not {allowed}")
        for field in ("image_height", "image_width"):
            if getattr(self, field) % self.patch_size:
                raise ValueError(f"{field}={getattr(self, field)} is not a multiple of "
                                 f"patch_size={self.patch_size}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim={self.embed_dim} is not a multiple of "
                             f"num_heads={self.num_heads}")
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k={self.top_k} exceeds num_experts={self.num_experts}")
        if any(type(classes) is not int or classes < 1 for classes in self.num_classes):
            raise ValueError(f"num_classes={self.num_classes} holds a count below 1")
        if self.num_classes and len(self.num_classes) != self.num_tasks:
            raise ValueError(f"num_classes={self.num_classes} does not name the classes of "
                             f"num_tasks={self.num_tasks} tasks")
        if self.norm not in NORMS:
            raise ValueError(f"norm={self.norm!r} is not one of {', '.join(NORMS)}")
        if not (isinstance(self.norm_epsilon, float) and 0 < self.norm_epsilon < 1):
            raise ValueError(f"norm_epsilon={self.norm_epsilon!r} is not between 0 and 1")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r} is not one of "
                             f"{', '.join(ACTIVATIONS)}")
        if type(self.prefix_tokens) is not int or self.prefix_tokens < bool(self.num_classes):
            raise ValueError(f"prefix_tokens={self.prefix_tokens!r} is not "
                             f"{'a positive integer' if self.num_classes else '0 or more'}")

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return self.image_height * self.image_width // self.patch_size**2

    @property
    def num_tokens(self) -> int:
        """Patches, and the tokens before them, of which the class token is the first."""
        return self.num_patches + self.prefix_tokens

    @property
    def patch_dim(self) -> int:
        """Pixels of a patch, all channels."""
        return self.image_channels * self.patch_size**2

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    def is_moe(self, layer: int) -> bool:
        """Whether block ``layer`` holds experts instead of a dense MLP."""
        return self.num_experts > 0 and layer % 2 == 1

    @property
    def macs(self) -> int:
        """Exact multiply-accumulates of one image: patch embedding and all blocks, no head."""
        tokens, dim = self.num_tokens, self.embed_dim
        attention = 4 * tokens * dim**2 + 2 * tokens**2 * dim
        dense = 2 * tokens * dim * self.hidden_dim
        routed = tokens * dim * (self.num_experts + 2 * self.top_k * self.expert_dim)
        total = self.num_patches * self.patch_dim * dim
        for layer in range(self.num_layers):
            total += attention + (routed if self.is_moe(layer) else dense)
        return total


_TINY = {
    "image_channels": 3, "image_height": 224, "image_width": 224, "patch_size": 16,
    "embed_dim": 192, "num_layers": 12, "num_heads": 3, "hidden_dim": 768,
}
_SMALL = _TINY | {"embed_dim": 384, "num_heads": 6, "hidden_dim": 1536}

MODELS: dict[str, ModelConfig] = {
    model.name: model
    for model in (
        ModelConfig(
            name="digits", image_channels=1, image_height=8, image_width=8, patch_size=2,
            embed_dim=32, num_layers=4, num_heads=2, hidden_dim=64,
            num_experts=4, top_k=2, expert_dim=32, num_tasks=2, num_classes=(10, 2),
        ),
        ModelConfig(
            name="m3vit-tiny-129",
            **_TINY | {"image_height": 128, "image_width": 256},
            num_experts=16, top_k=2, expert_dim=384, num_tasks=2,
        ),
        ModelConfig(
            name="m3vit-tiny-197", **_TINY, num_experts=16, top_k=2, expert_dim=384, num_tasks=2,
        ),
        ModelConfig(
            name="m3vit-tiny-197-top4",
            **_TINY, num_experts=16, top_k=4, expert_dim=192, num_tasks=2,
        ),
        ModelConfig(
            name="m3vit-small-197", **_SMALL,
            num_experts=16, top_k=2, expert_dim=768, num_tasks=2,
        ),
        ModelConfig(name="deit-tiny-197", **_TINY, num_classes=(1000,)),
        ModelConfig(
            name="deit-tiny-577", **_TINY | {"image_height": 384, "image_width": 384},
            num_classes=(1000,),
        ),
        ModelConfig(name="deit-small-197", **_SMALL, num_classes=(1000,)),
        ModelConfig(name="dinov2-small-257", **_SMALL | {"patch_size": 14}),
        ModelConfig(
            name="vit-base-197",
            **_TINY | {"embed_dim": 768, "num_heads": 12, "hidden_dim": 3072}, num_classes=(1000,),
        ),
    )
}
