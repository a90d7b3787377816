"""A quantized network to the program and the memory image that the accelerator runs.

Memory, by byte address: program, weights in order of use, image, output.
"""

import numpy as np

from golden.config import ModelConfig
from rtl.assembler import Assembler, Program, Quantized
from rtl.config import HwConfig
from rtl.layout import image_rows, image_stride, residual_rows
from rtl.program import DESCRIPTOR_BYTES, Dest, Mode, Opcode, Source, Target, pack


def check(config: ModelConfig, hw: HwConfig, task: int) -> None:
    """Refuse a network that the hardware cannot hold.

    Raises
    ------
    ValueError
        Names the dimension, its value and what is allowed.
    """
    if not 0 <= task < config.num_tasks:
        raise ValueError(f"task {task} is not in 0..{config.num_tasks - 1}")
    words = config.embed_dim // hw.word
    limits = [
        ("num_tokens", config.num_tokens, hw.max_tokens), ("embed_dim", config.embed_dim,
                                                           hw.max_embed),
        ("hidden_dim", config.hidden_dim, hw.max_depth), ("patch_dim", config.patch_dim,
                                                          hw.max_depth),
        ("num_experts", config.num_experts, hw.max_experts), ("top_k", config.top_k, hw.max_top_k),
        ("expert_dim", config.expert_dim, hw.max_depth),
        ("keys and values", kv_rows(config, hw), hw.kv_rows),
        ("activation words", act_words(config, hw), hw.act_words),
        ("normalized words", config.num_tokens * words, hw.normed_words),
        ("image words", (config.num_tokens - 1) * image_stride(config, hw), hw.image_words),
        ("residual words", config.num_tokens * words
         + -(-max(config.num_classes, default=0) // hw.word), hw.residual_words),
    ]
    for name, value, most in limits:
        if value > most:
            raise ValueError(f"{config.name}: {name}={value} exceeds {hw.name}'s maximum {most}")
    for name in ("embed_dim", "head_dim", "hidden_dim", "expert_dim"):
        if getattr(config, name) % hw.word:
            raise ValueError(f"{config.name}: {name}={getattr(config, name)} is not a multiple of "
                             f"{hw.name}'s word of {hw.word}")


def key_tiles(config: ModelConfig, hw: HwConfig) -> int:
    """Tiles of one head's keys."""
    return -(-config.num_tokens // hw.lanes)


def value_tiles(config: ModelConfig, hw: HwConfig) -> int:
    """Tiles of one head's values."""
    return -(-config.head_dim // hw.lanes)


def kv_rows(config: ModelConfig, hw: HwConfig) -> int:
    """Rows of all keys and values."""
    return config.num_heads * (key_tiles(config, hw) * config.head_dim
                               + value_tiles(config, hw) * config.num_tokens)


def act_words(config: ModelConfig, hw: HwConfig) -> int:
    """Words of activations: queries and contexts, later the hidden values."""
    widest = max(2 * config.embed_dim, config.hidden_dim, config.expert_dim)
    return config.num_tokens * widest // hw.word


class Network:
    """Places the operators of one network."""

    def __init__(self, assembler: Assembler) -> None:
        self.c = assembler
        self.config, self.hw = assembler.config, assembler.hw
        self.tokens = self.config.num_tokens
        self.words = self.config.embed_dim // self.hw.word

    def program(self) -> Program:
        """Place all operators and return the program."""
        c, config = self.c, self.config
        self.embed()
        for layer in range(config.num_layers):
            self.attention(f"blocks.{layer}")
            if config.is_moe(layer):
                self.experts(f"blocks.{layer}")
            else:
                self.mlp(f"blocks.{layer}")
        if config.num_classes:
            self.head()
        beats = self.tokens * self.words
        if config.num_classes:
            beats += -(-config.num_classes[c.task] // self.hw.word)
        c.compute("store", {"opcode": Opcode.STORE, "rows": 1, "beats": beats, "norm_source": 0})
        c.descriptors.append({"opcode": Opcode.HALT})
        c.names.append("halt")
        return self.link(beats)

    def link(self, beats: int) -> Program:
        """Give every byte its address."""
        c, hw = self.c, self.hw
        if len(c.descriptors) > hw.program_depth:
            raise ValueError(f"{self.config.name}: {len(c.descriptors)} descriptors exceed "
                             f"{hw.name}'s program_depth={hw.program_depth}")
        start = len(c.descriptors) * DESCRIPTOR_BYTES
        image = start + c.end
        output = image + len(image_rows(self.blank(), self.config, hw))
        placed = []
        for name, fields in zip(c.names, c.descriptors, strict=True):
            fields = dict(fields)
            if fields["opcode"] == Opcode.LOAD:
                fields["address"] = image if name == "image.load" else start + fields["address"]
            if fields["opcode"] == Opcode.STORE:
                fields["address"] = output
            placed.append(fields)
        code = np.frombuffer(b"".join(pack(fields) for fields in placed), np.uint8)
        return Program(
            hw, self.config, c.task, c.mode, tuple(placed), tuple(c.names),
            np.concatenate([code, *c.blobs]), image, output, beats, output + beats * hw.bus_bytes)

    def blank(self) -> np.ndarray:
        """Return an image of zeros."""
        config = self.config
        return np.zeros((config.image_channels, config.image_height, config.image_width), np.uint8)

    def embed(self) -> None:
        """Positions into the residual stream, the image beside it, patches added to both."""
        c = self.c
        beats = len(image_rows(self.blank(), self.config, self.hw)) // self.hw.bus_bytes
        c.load("image", Target.IMAGE, np.zeros(0, np.uint8), 0)
        c.descriptors[-1]["beats"] = beats
        c.load("position", Target.RESIDUAL, residual_rows(c.tensor("position")), 0)
        stride = image_stride(self.config, self.hw)
        c.layer("patch", rows=self.tokens - 1, source=Source.IMAGE, source_stride=stride,
                dest=Dest.RESIDUAL, dest_base=self.words, dest_stride=self.words)

    def attention(self, name: str) -> None:
        """Q, K, V, the two products, the projection."""
        c, config, hw = self.c, self.config, self.hw
        heads, head_dim = config.num_heads, config.head_dim
        context, values = self.tokens * self.words, heads * key_tiles(config, hw) * head_dim
        rows = {"rows": self.tokens, "source_stride": self.words}
        shape = {"heads": heads, "head_words": head_dim // hw.word}
        norm = c.norm(f"{name}.norm1")
        c.layer(f"{name}.q", source=Source.NORMED, dest=Dest.ACT, dest_stride=self.words,
                **rows, **norm)
        c.layer(f"{name}.k", source=Source.NORMED, dest=Dest.KEY,
                dest_stride=(key_tiles(config, hw) - 1) * head_dim, **rows, **shape)
        c.layer(f"{name}.v", source=Source.NORMED, dest=Dest.VALUE, dest_base=values,
                dest_stride=self.tokens, **rows, **shape)
        multiplier = c.tensor(f"{name}.attention.multiplier").repeat(hw.word)
        param = c.parameters(f"{name}.attention", np.zeros_like(multiplier), multiplier)
        c.compute(f"{name}.attention", {
            "opcode": Opcode.ATTENTION, "mode": c.mode, "columns": head_dim, "param_base": param,
            "norm_base": values, "dest_base": context,
            "shift": (int(c.tensor(f"{name}.attention.shift")) - 14) // 4,
            "kappa22": int(c.tensor(f"{name}.attention.kappa22")),
            "kappa26": int(c.tensor(f"{name}.attention.kappa26")), **rows, **shape,
        })
        c.layer(f"{name}.proj", source=Source.ACT, source_base=context, dest=Dest.RESIDUAL,
                dest_stride=self.words, **rows)

    def mlp(self, name: str) -> None:
        """Two dense layers with the activation table between them."""
        c, hidden = self.c, self.config.hidden_dim // self.hw.word
        norm = c.norm(f"{name}.norm2")
        bank, zero_point = c.table(f"{name}.gelu")
        c.layer(f"{name}.fc1", rows=self.tokens, source=Source.NORMED, source_stride=self.words,
                dest=Dest.HIDDEN, dest_stride=hidden, bank=bank, **norm)
        c.layer(f"{name}.fc2", rows=self.tokens, source=Source.ACT, source_stride=hidden,
                operand_signed=0, zero_point=zero_point, dest=Dest.RESIDUAL,
                dest_stride=self.words)
        c.tables.use(bank, 1, c.computes - 1)

    def experts(self, name: str) -> None:
        """The task's gate, then expert by expert over its tokens."""
        c, config = self.c, self.config
        hidden = config.expert_dim // self.hw.word
        norm = c.norm(f"{name}.norm2")
        gate = f"{name}.gate.{c.task}"
        weight = c.tensor(f"{gate}.weight").astype(np.int64)
        low = (weight + 128) % 256 - 128
        planes = np.stack([(weight - low) >> 8, low], axis=1).reshape(-1, config.embed_dim)
        c.linear(gate, planes, rows=self.tokens, source=Source.NORMED, source_stride=self.words,
                 dest=Dest.GATE, num_experts=config.num_experts, top_k=config.top_k,
                 multiplier=int(c.tensor(f"{gate}.multiplier")),
                 shift=(int(c.tensor(f"{gate}.shift")) - 14) // 4, **norm)
        c.gate = c.computes
        bank, zero_point = c.table(f"{name}.gelu")
        likely = max(1.0, self.tokens * config.top_k / config.num_experts)
        rows = {"rows": self.tokens, "likely_rows": likely}
        for expert in range(config.num_experts):
            c.layer(f"{name}.experts.fc1", expert=expert, source=Source.NORMED,
                    source_stride=self.words, gather=1, dest=Dest.HIDDEN, dest_stride=hidden,
                    bank=bank, **rows)
            c.layer(f"{name}.experts.fc2", expert=expert, source=Source.ACT,
                    source_stride=hidden, scatter=1, operand_signed=0, zero_point=zero_point,
                    dest=Dest.COMBINE, dest_stride=self.words, **rows)
        c.tables.use(bank, 1, c.computes - 1)

    def head(self) -> None:
        """The task's head on the class token, behind the tokens in the residual stream."""
        c = self.c
        norm = c.norm("norm")
        c.layer(f"head.{c.task}", rows=1, source=Source.NORMED, source_stride=self.words,
                dest=Dest.OUTPUT, dest_base=self.tokens * self.words, dest_stride=0, **norm)


def compile_program(model: Quantized, hw: HwConfig, task: int = 0,
                    mode: Mode = Mode.DENSE) -> Program:
    """Compile one task of a quantized network.

    Raises
    ------
    ValueError
        The network does not fit the hardware; says which dimension, its value, what is allowed.
    """
    check(model.config, hw, task)
    return Network(Assembler(model, hw, task, mode)).program()
