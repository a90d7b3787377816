"""The operators of a network, in order, with what each of them waits for."""

import numpy as np

from golden.config import ModelConfig
from rtl.assembler import Assembler, Program
from rtl.config import HwConfig
from rtl.layout import image_rows, image_stride, residual_rows
from rtl.placement import sets_of
from rtl.program import DESCRIPTOR_BYTES, Dest, Opcode, Source, Target, pack


def key_tiles(config: ModelConfig, hw: HwConfig) -> int:
    """Tiles of one head's keys."""
    return -(-config.num_tokens // hw.lanes)


def value_tiles(config: ModelConfig, hw: HwConfig) -> int:
    """Tiles of one head's values."""
    return -(-config.head_dim // hw.lanes)


def head_rows(config: ModelConfig, hw: HwConfig) -> int:
    """Rows of one head's keys and values."""
    return (key_tiles(config, hw) * config.head_dim
            + value_tiles(config, hw) * config.num_tokens)


def act_words(config: ModelConfig, hw: HwConfig) -> int:
    """Words of activations: queries and contexts, later the hidden values."""
    widest = max(2 * config.embed_dim, config.hidden_dim, 2 * config.expert_dim)
    return config.num_tokens * widest // hw.word


class Network:
    """Places the operators of one network."""

    def __init__(self, assembler: Assembler) -> None:
        self.c = assembler
        self.config, self.hw = assembler.config, assembler.hw
        self.tokens = self.config.num_tokens
        self.words = self.config.embed_dim // self.hw.word
        self.image_beats = len(image_rows(self.blank(), self.config, self.hw)) // self.hw.bus_bytes
        self.stream: dict[str, int] = {}
        self.patched: list[int] = []
        self.stored: list[int] = []

    def program(self, frames: int) -> Program:
        """Place all operators and return the program."""
        c, config = self.c, self.config
        beats = self.tokens * self.words
        if config.num_classes:
            beats += -(-config.num_classes[c.task] // self.hw.word)
        for frame in range(frames):
            self.frame(frame, beats)
        c.descriptors.append({"opcode": Opcode.HALT})
        c.names.append("halt")
        return self.link(frames, beats)

    def frame(self, frame: int, beats: int) -> None:
        """Place one inference.

        Its residual stream takes the other half of the memory, if it fits, so that it can be
        loaded during the inference before.
        """
        c, config = self.c, self.config
        half = self.hw.residual_words // 2
        turns = 2 if beats <= half else 1
        self.base = half * (frame % turns)
        self.embed(frame, self.stored[frame - turns] if frame >= turns else 0)
        for layer in range(config.num_layers):
            self.attention(f"blocks.{layer}")
            if config.is_moe(layer):
                self.experts(f"blocks.{layer}")
            else:
                self.mlp(f"blocks.{layer}")
        if config.num_classes:
            self.head()
        c.compute("store", {"opcode": Opcode.STORE, "rows": 1, "beats": beats,
                            "norm_source": self.base})
        self.stored.append(c.computes)

    def link(self, frames: int, beats: int) -> Program:
        """Give every byte its address."""
        c, hw = self.c, self.hw
        if len(c.descriptors) > hw.program_depth:
            raise ValueError(f"{self.config.name}: {len(c.descriptors)} descriptors exceed "
                             f"{hw.name}'s program_depth={hw.program_depth}")
        start = len(c.descriptors) * DESCRIPTOR_BYTES
        image, size = start + c.end, self.image_beats * hw.bus_bytes
        output, made = image + frames * size, beats * hw.bus_bytes
        images, outputs = ([first + step * n for n in range(frames)]
                           for first, step in ((image, size), (output, made)))
        shown, kept = iter(images), iter(outputs)
        placed = []
        for name, fields in zip(c.names, c.descriptors, strict=True):
            fields = dict(fields)
            if fields["opcode"] == Opcode.LOAD:
                fields["address"] = next(shown) if name == "image.load" else (
                    start + fields["address"])
            if fields["opcode"] == Opcode.STORE:
                fields["address"] = next(kept)
            placed.append(fields)
        code = np.frombuffer(b"".join(pack(fields) for fields in placed), np.uint8)
        return Program(
            hw, self.config, c.task, c.mode, tuple(placed), tuple(c.names),
            np.concatenate([code, *c.blobs]), tuple(images), tuple(outputs), beats,
            output + frames * made)

    def blank(self) -> np.ndarray:
        """Return an image of zeros."""
        config = self.config
        return np.zeros((config.image_channels, config.image_height, config.image_width), np.uint8)

    def residual(self) -> dict[str, int]:
        """Fields of an operator that adds to the residual stream."""
        return {"dest": Dest.RESIDUAL, "dest_base": self.base, "dest_stride": self.words}

    def normalized(self, name: str) -> dict[str, int]:
        """Fields of an operator that normalizes the residual stream as soon as it is final."""
        return {**self.c.norm(name), "norm_source": self.base, **self.stream}

    def after(self, *, by_row: bool) -> dict[str, int]:
        """Fields of an operator that needs the last one placed."""
        return {"wait_computes": self.c.computes, "by_row": int(by_row)}

    def embed(self, frame: int, free: int) -> None:
        """Positions into the residual stream, the image beside it, patches added to both.

        The positions may be loaded once ``free`` compute descriptors have finished.
        """
        c, hw = self.c, self.hw
        stride = image_stride(self.config, hw)
        turns = 2 if 4 * self.image_beats <= hw.image_words else 1
        base = 2 * self.image_beats * (frame % turns)
        c.load("image", Target.IMAGE, np.zeros(0, np.uint8),
               self.patched[frame - turns] if frame >= turns else 0, dest_base=base)
        c.descriptors[-1]["beats"] = self.image_beats
        c.load("position", Target.RESIDUAL, residual_rows(c.tensor("position")), free,
               dest_base=self.base)
        c.layer("patch", rows=self.tokens - 1, source=Source.IMAGE, source_base=base,
                source_stride=stride, **self.residual() | {"dest_base": self.base + self.words})
        self.patched.append(c.computes)
        self.stream = self.after(by_row=True)

    def attention(self, name: str) -> None:
        """K, Q, V, the two products, the projection.

        Keys come first because the corner turn hands them on late.
        """
        c, config, hw = self.c, self.config, self.hw
        heads, head_dim = config.num_heads, config.head_dim
        sets = sets_of(heads, head_rows(config, hw), hw)
        context = self.tokens * self.words
        values = -(-heads // sets) * key_tiles(config, hw) * head_dim
        rows = {"rows": self.tokens, "source_stride": self.words}
        shape = {"heads": heads, "head_words": head_dim // hw.word,
                 "set_size": hw.gangs.index(hw.groups // sets)}
        norm = self.normalized(f"{name}.norm1")
        c.layer(f"{name}.k", source=Source.NORMED, dest=Dest.KEY,
                dest_stride=(key_tiles(config, hw) - 1) * head_dim, **rows, **shape, **norm)
        c.layer(f"{name}.q", source=Source.NORMED, dest=Dest.ACT, dest_stride=self.words, **rows)
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
            **self.after(by_row=True),
        })
        c.layer(f"{name}.proj", source=Source.ACT, source_base=context, **rows,
                **self.residual(), **self.after(by_row=True))
        self.stream = self.after(by_row=True)

    def mlp(self, name: str) -> None:
        """Two dense layers with the activation table between them."""
        c, hidden = self.c, self.config.hidden_dim // self.hw.word
        norm = self.normalized(f"{name}.norm2")
        bank, zero_point = c.table(f"{name}.gelu")
        c.layer(f"{name}.fc1", rows=self.tokens, source=Source.NORMED, source_stride=self.words,
                dest=Dest.HIDDEN, dest_stride=hidden, bank=bank, **norm)
        c.layer(f"{name}.fc2", rows=self.tokens, source=Source.ACT, source_stride=hidden,
                operand_signed=0, zero_point=zero_point, **self.residual(),
                **self.after(by_row=True))
        c.tables.use(bank, 1, c.computes - 1)
        self.stream = self.after(by_row=True)

    def experts(self, name: str) -> None:
        """The task's gate, then expert by expert over its tokens, the most used first.

        An expert's second layer follows the next expert's first, whose results do not hold it up.
        The weights of experts that calibration always needed are loaded ahead of the gate.
        """
        c, config = self.c, self.config
        norm = self.normalized(f"{name}.norm2")
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
        total, least = c.tensor(f"{gate}.usage")
        order = np.argsort(-total.astype(np.int64), kind="stable").tolist()
        c.certain = frozenset(np.flatnonzero(least).tolist())
        made: list[int] = []
        for turn in range(len(order) + 1):
            if turn < len(order):
                self.expert_in(name, order[turn], turn, bank)
                made.append(c.computes)
            if turn:
                self.expert_out(name, order[turn - 1], turn - 1, zero_point, made[turn - 1])
        c.tables.use(bank, 1, c.computes - 1)
        self.stream = self.after(by_row=False)

    def hidden(self, turn: int) -> tuple[int, int]:
        """Return first word and stride of an expert's hidden values, in turns with the next's."""
        stride = self.config.expert_dim // self.hw.word
        return turn % 2 * self.tokens * stride, stride

    def expert_in(self, name: str, expert: int, turn: int, bank: int) -> None:
        """Place an expert's first layer, for the tokens in its queue."""
        base, stride = self.hidden(turn)
        self.c.layer(f"{name}.experts.fc1", expert=expert, rows=self.tokens, source=Source.NORMED,
                     source_stride=self.words, gather=1, dest=Dest.HIDDEN, dest_base=base,
                     dest_stride=stride, bank=bank, wait_computes=self.c.gate)

    def expert_out(self, name: str, expert: int, turn: int, zero_point: int, after: int) -> None:
        """Place an expert's second layer, back to the tokens in its queue."""
        base, stride = self.hidden(turn)
        self.c.layer(f"{name}.experts.fc2", expert=expert, rows=self.tokens, source=Source.ACT,
                     source_base=base, source_stride=stride, scatter=1, operand_signed=0,
                     zero_point=zero_point, wait_computes=after,
                     **self.residual() | {"dest": Dest.COMBINE})

    def head(self) -> None:
        """The task's head on the class token, behind the tokens in the residual stream."""
        norm = self.normalized("norm")
        self.c.layer(f"head.{self.c.task}", rows=1, source=Source.NORMED,
                     source_stride=self.words, dest=Dest.OUTPUT,
                     dest_base=self.base + self.tokens * self.words, dest_stride=0, **norm)
