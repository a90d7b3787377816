"""How fast: the geometry of one accelerator, validated. ``boards/`` has the presets.

What is computed comes from the program in memory; only the maxima stated here bound it.
"""

from dataclasses import dataclass, fields
from types import MappingProxyType

FIELD = 1 << 16
"""Values of a descriptor's base, stride, ``rows``, ``depth`` and ``columns``."""

PAGE = 4096
"""Bytes of which no burst crosses the end."""

MAXIMA = MappingProxyType({
    **dict.fromkeys(("weight_rows", "kv_rows", "act_words", "normed_words", "residual_words",
                     "state_words", "reference_words", "param_words", "norm_words",
                     "program_depth"), (FIELD, "a descriptor's base has 16 bits")),
    "max_tokens": (FIELD // 2, "a descriptor counts rows in 16 bits"),
    "max_depth": (FIELD - 1, "a descriptor counts the length of a sum in 16 bits"),
    "max_embed": (2048, "a sum of the normalization has 27 bits"),
    "max_experts": (255, "a descriptor counts experts in 8 bits"),
    "max_top_k": (15, "a descriptor counts a token's experts in 4 bits"),
    "groups": (32, "five levels add the parts of a sum"),
    "burst_beats": (256, "AXI4 has no longer burst"),
    "queue_words": (FIELD, "an item has no more words"),
    "banks": (256, "a bank has four flip-flops in each group"),
    "attention_lag": (255, "each row ahead has a register and an input of a multiplexer"),
    "outstanding": (256, "each burst in flight has an entry of a queue"),
})
"""Largest value of every parameter that has no list of allowed ones, and why."""


def lower_half(depth: int) -> int:
    """Rows of the lower half of a memory of ``depth`` rows: whole block RAMs, if there are two."""
    rows = -(-depth // 1024) * 512
    return rows if rows < depth else (depth + 1) // 2


class WrongValueError(ValueError):
    """A parameter is not what it may be.

    Attributes
    ----------
    parameter : str
        Its name.
    """

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(parameter, value, allowed)
        self.parameter = parameter

    def __str__(self) -> str:
        parameter, value, allowed = self.args
        return f"{parameter}={value!r} is not {allowed}"


@dataclass(frozen=True, kw_only=True)
class HwConfig:
    """Geometry of the accelerator.

    Attributes
    ----------
    name : str
        Preset name; part of the generated Verilog's header.
    groups, lanes : int
        ``groups`` lane groups of ``lanes`` multipliers each, one event a cycle for each group. One
        AXI data beat is ``lanes`` bytes; one on-chip word is ``lanes // 2`` elements.
    packed : bool
        Two products share one wide multiplier, as in a DSP48E2.
    queue_words : int
        Words of operands whose events a lane group holds: up to three items that wait for it.
    block_queues : bool
        Those words wait in block RAM and not in LUTs; the cycles are the same. On an ECP5 a queue
        of 192 words takes about 1,400 LUTs otherwise.
    banks : int
        Items whose sums a lane group holds until they are drained.
    acc_width : int
        Bits of a signed accumulator, bias included. The compiler refuses weights that need more.
    last_key : bool
        One key more than whole tiles takes no tile: ``word`` multipliers beside the lane groups
        make its scores, see :class:`deltamoe.rtl.attention.last_key.LastKey`.
    attention_lag : int
        Score rows computed ahead of the row whose values are being summed. It hides the softmax.
    max_tokens, max_embed, max_depth, max_experts, max_top_k : int
        Largest network dimensions; ``max_depth`` is the longest sum of products.
    weight_rows, kv_rows, act_words, normed_words, residual_words : int
        Depths of the on-chip memories. A row is ``lanes`` weights, a word is ``word`` elements.
        The image is loaded into the memory of the activations.
    queued_tokens : int
        Tokens that a queue of an expert, or of those that changed, holds; 0: ``max_tokens``.
    read_words : int
        Words of activations that can be read together, 1, 2 or 4, each for other lane groups:
        ``groups`` are twice as many gangs. ``zcu102`` needs four for 768 inputs of which it skips
        90 %: 192 outputs of them take 10.2 cycles instead of 24, dense 96.
    state_words, reference_words : int
        Words of sums and of operands that are kept from one frame to the next; 0 leaves all of
        that hardware out.
    param_words, norm_words, program_depth : int
        Depths of the bias and multiplier memory, of the normalization parameters, and descriptors
        of the program that are held at a time.
    burst_beats, outstanding : int
        Longest AXI burst, and read bursts in flight, of each port.
    memory_ports : int
        AXI ports that share a beat, 1, 2 or 4, with ``lanes / memory_ports`` bytes each. Block
        ``n`` of memory, of ``block_bytes``, is read and written by port ``n % memory_ports``; each
        block is one burst at most. Four ports of 16 bytes are what a Zynq UltraScale+ has.
    """

    name: str
    groups: int
    lanes: int
    packed: bool = False
    queue_words: int
    block_queues: bool = False
    banks: int = 4
    last_key: bool = False
    acc_width: int = 25
    attention_lag: int = 3
    max_tokens: int
    max_embed: int
    max_depth: int
    max_experts: int
    max_top_k: int
    weight_rows: int
    kv_rows: int
    act_words: int
    normed_words: int
    residual_words: int
    queued_tokens: int = 0
    read_words: int = 1
    state_words: int = 0
    reference_words: int = 0
    param_words: int
    norm_words: int
    program_depth: int
    burst_beats: int = 64
    outstanding: int = 4
    memory_ports: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and (type(value) is not int or value < int(field.default != 0)):
                raise self._wrong(field.name, "a positive integer")
        for name, (most, reason) in MAXIMA.items():
            if getattr(self, name) > most:
                raise self._wrong(name, f"at most {most}: {reason}")
        if (self.state_words > 0) != (self.reference_words > 0):
            raise ValueError(f"state_words={self.state_words} and reference_words="
                             f"{self.reference_words} are not both 0 or both positive")
        if self.lanes not in (8, 16, 32, 64):
            raise self._wrong("lanes", "8, 16, 32 or 64")
        if not 18 <= self.acc_width <= 32:
            raise self._wrong("acc_width", "in 18..32")
        if self.read_words not in (1, 2, 4):
            raise self._wrong("read_words", "1, 2 or 4")
        if self.read_words > 1 and self.groups % (2 * self.read_words):
            raise ValueError(f"read_words={self.read_words} needs groups={self.groups} to be a "
                             f"multiple of {2 * self.read_words}")
        if self.banks.bit_count() != 1 or self.banks < 2:
            raise self._wrong("banks", "a power of two above 1")
        if (self.attention_lag + 1).bit_count() != 1:
            raise self._wrong("attention_lag", "a power of two minus one")
        for field in ("max_tokens", "program_depth"):
            if getattr(self, field).bit_count() != 1:
                raise self._wrong(field, "a power of two")
        if self.queued_tokens and (self.queued_tokens.bit_count() != 1
                                   or self.queued_tokens > self.max_tokens):
            raise self._wrong("queued_tokens", f"a power of two of at most max_tokens="
                              f"{self.max_tokens}, or 0")
        for field, row in (("act_words", self.act_row), ("residual_words", 2)):
            if getattr(self, field) < 2 * row or getattr(self, field) % row:
                raise self._wrong(field, f"a multiple of {row} above {row}")
        if self.max_depth < self.max_tokens:
            raise ValueError(f"max_depth={self.max_depth} is below max_tokens={self.max_tokens}")
        if self.queue_words * self.word < self.max_depth:
            raise ValueError(f"queue_words={self.queue_words} of {self.word} elements hold less "
                             f"than max_depth={self.max_depth}")
        if self.max_top_k > self.max_experts:
            raise ValueError(f"max_top_k={self.max_top_k} exceeds max_experts={self.max_experts}")
        if self.max_embed < self.word:
            raise ValueError(f"max_embed={self.max_embed} is below a word of {self.word}")
        if self.memory_ports not in (1, 2, 4) or self.port_bytes < 4:
            raise self._wrong("memory_ports", "1, 2 or 4, with at least 4 bytes each of "
                              f"lanes={self.lanes}")
        most = min(PAGE // self.port_bytes, MAXIMA["burst_beats"][0])
        if self.memory_ports > 1 and (self.burst_beats.bit_count() != 1
                                      or not self.memory_ports <= self.burst_beats <= most):
            raise self._wrong("burst_beats", f"a power of two in {self.memory_ports}..{most}: with "
                              f"memory_ports={self.memory_ports}, a burst is a block of memory")
        if self.program_depth < 4:
            raise self._wrong("program_depth", "at least 4: the load of each half needs a place "
                              "in the other, beside a descriptor")
        if self.queues > 256:
            raise self._wrong("max_experts", "at most 128 with state_words: a descriptor counts "
                              "two queues for each in 8 bits")
        if self.remembered_tokens > FIELD:
            raise self._wrong("queued_tokens" if self.queued_tokens else "max_tokens",
                              f"at most {FIELD // 8} with state_words: a descriptor "
                              "has 16 bits for the first token's experts of eight layers")

    def _wrong(self, parameter: str, allowed: str) -> "WrongValueError":
        return WrongValueError(parameter, getattr(self, parameter), allowed)

    @property
    def temporal(self) -> bool:
        """Whether frames are compared with those before."""
        return self.state_words > 0

    @property
    def state_bits(self) -> int:
        """Bits of the place of a kept sum; none if nothing is kept."""
        return max(self.state_words - 1, 0).bit_length()

    @property
    def kept_word(self) -> int:
        """Elements of a word that is kept from one frame to the next; none if nothing is."""
        return self.word if self.temporal else 0

    @property
    def compared_tokens(self) -> int:
        """Tokens that can be compared with those of the frame before."""
        return self.queue_depth if self.temporal else 0

    @property
    def remembered_tokens(self) -> int:
        """Tokens whose experts of the frame before are known, over all layers."""
        return 8 * self.compared_tokens

    @property
    def queue_depth(self) -> int:
        """Tokens that fit into a queue of tokens."""
        return self.queued_tokens or self.max_tokens

    @property
    def queues(self) -> int:
        """Token queues: of every expert, and of its tokens that did not change."""
        return self.max_experts * (2 if self.temporal else 1)

    @property
    def word(self) -> int:
        """Elements of one on-chip word."""
        return self.lanes // 2

    @property
    def bus_bytes(self) -> int:
        """Bytes of one data beat, of all AXI ports together."""
        return self.lanes

    @property
    def port_bytes(self) -> int:
        """Bytes that one AXI port has of a data beat."""
        return self.bus_bytes // self.memory_ports

    @property
    def block_bytes(self) -> int:
        """Bytes of the blocks of memory that several ports take turns in: a longest burst."""
        return self.burst_beats * self.port_bytes

    @property
    def block_words(self) -> int:
        """Beats of all ports together that such a block has."""
        return self.block_bytes // self.bus_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weight memory, one for each lane of a row of every group."""
        return self.weight_rows * self.groups * self.lanes

    @property
    def mac_units(self) -> int:
        """Multiply-accumulates per cycle."""
        return self.groups * self.lanes

    @property
    def gangs(self) -> tuple[int, ...]:
        """Allowed numbers of lane groups that work together: the divisors of ``groups``."""
        return tuple(gang for gang in range(1, self.groups + 1) if self.groups % gang == 0)

    @property
    def splits(self) -> range:
        """Allowed ``split``: as often as the groups, and a word, can be halved."""
        return range(min((self.groups & -self.groups).bit_length(), self.word.bit_length()))

    @property
    def read_gang(self) -> int:
        """Neighboring groups that get the same one of the words that are read together."""
        return self.groups // (2 * self.read_words)

    @property
    def act_row(self) -> int:
        """Words in a row of the activation memory: a beat, or what is read together."""
        return max(2, self.read_words)

    def spreads(self, size: int) -> list[int]:
        """Allowed ``spread`` in a set of ``size`` groups: powers of two that divide it."""
        return [spread for spread in range(self.groups.bit_length()) if size % (1 << spread) == 0]

    @property
    def piece(self) -> int:
        """Descriptors that are fetched together: half the program memory."""
        return self.program_depth // 2

    @property
    def row_bits(self) -> int:
        """Bits that tell the rows of weights, or of keys and values, apart."""
        return (max(self.weight_rows, self.kv_rows) - 1).bit_length()

    @property
    def row_words(self) -> int:
        """Words of the longest row of tokens: one score per token."""
        return -(-self.max_tokens // self.word)

    @property
    def depth_words(self) -> int:
        """Words of the longest row of operands."""
        return -(-self.max_depth // self.word)

    @property
    def embed_words(self) -> int:
        """Words of the longest row of the residual stream."""
        return self.max_embed // self.word

    @property
    def item_words(self) -> int:
        """Most column words of an item: two of each group, and the last key's."""
        return 2 * self.groups + self.last_key

    @property
    def probability_words(self) -> int:
        """Words of the memory of rows of probabilities."""
        return (self.attention_lag + 1) * self.row_words

    @property
    def operand_words(self) -> int:
        """Words of the largest memory that operands are read from."""
        return max(self.normed_words, self.act_words, self.probability_words, self.reference_words)

    @property
    def dest_words(self) -> int:
        """Words, or rows of keys and values, of the largest memory that results are written to."""
        return max(self.act_words, self.residual_words, self.kv_rows)

    @property
    def score_rows(self) -> int:
        """Most rows of scores of an operator: of each token, and of each head that finds room."""
        return self.max_tokens * min(255, self.param_words)
