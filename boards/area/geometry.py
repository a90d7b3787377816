"""What of a design follows from its geometry alone: instances, multipliers and memories.

Mapped as Yosys does for UltraScale+: each memory to the one primitive of which it needs the least.
"""

from collections.abc import Iterator

from amaranth import Shape

from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.config import HwConfig, lower_half
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.formats import drained, event_word, route
from deltamoe.rtl.moe.gate import Gate

SHAPES = ((36, 512, 0.5), (18, 1024, 0.5), (9, 2048, 0.5), (4, 4096, 0.5), (2, 8192, 0.5),
          (1, 16384, 0.5), (72, 512, 1), (36, 1024, 1), (18, 2048, 1), (9, 4096, 1), (4, 8192, 1),
          (2, 16384, 1), (1, 32768, 1))
"""Width, depth and size in BRAM36 of a block RAM with one write and one read port, AMD UG573."""


def instances(hw: HwConfig) -> dict[str, int]:
    """Return how often each unit occurs."""
    once = ("Accelerator", "Registers", "RunControl", "Sequencer", "DmaReader", "DmaWriter",
            "Loader", "StoreReader", "Datapath", "StorePorts", "ItemGenerator", "OperandSource",
            "EventEncoder", "ComputeUnit", "Drain", "Writeback", "Requantize", "ActivationTable",
            "Combine", "CornerTurn", "KvWriter", "Gate", "Dispatch", "Residual", "Normalization",
            "LayerNorm", "Probabilities", "Softmax")
    return {**dict.fromkeys(once, 1), "Worker": hw.groups, "LaneGroup": hw.groups,
            "NormalizeLane": hw.word // 2, "KeptSums": int(hw.temporal)}


def multipliers(hw: HwConfig) -> int:
    """Return DSP48E2s: of the lanes, of requantization, combination and normalization, addresses.

    A word of normalization needs one product for each element's square and two to normalize it.
    """
    return hw.mac_units // (2 if hw.packed else 1) + 5 * hw.word + 21 + 2 * hw.temporal


def blocks(width: int, depth: int) -> float:
    """Return the BRAM36 of a memory."""
    return min(-(-width // wide) * -(-depth // deep) * size for wide, deep, size in SHAPES)


def memories(hw: HwConfig) -> Iterator[tuple[int, int, int]]:
    """Return width, depth and number of all memories in block RAM."""
    word, lag = hw.word, hw.attention_lag + 1
    yield 8 * hw.bus_bytes, hw.program_depth * Walker.parts(hw), 2  # one copy for each walker
    enabled = 9 * -(-8 * word // 9) * hw.act_row  # words are written apart, in lanes of 9 bits
    for width, depth in ((enabled, hw.act_words // hw.act_row), (24 * word, hw.residual_words)):
        yield width, lower_half(depth), 1
        yield width, depth - lower_half(depth), 1
    yield 64 * word, hw.param_words, 1
    yield 8 * word, hw.normed_words, 1
    yield 8 * word, hw.weight_rows, 2 * hw.groups
    yield 8 * word, hw.kv_rows, 2 * hw.groups
    yield 8, 2048, word
    yield 8, 2 * hw.max_embed, word
    tokens, places = ((count - 1).bit_length() for count in (
        hw.max_tokens, hw.max_tokens * hw.max_top_k))
    yield 16 + tokens + (places + 1) * hw.temporal, hw.queues * hw.max_tokens, 1
    yield 8 * word, lag * hw.row_words, 1
    yield 16 * word, Softmax.ROWS * hw.row_words, 1
    if hw.temporal:
        yield 8 * word, hw.reference_words, 1
        yield hw.acc_width * word, hw.state_words, 1
        yield max(1, (hw.max_experts - 1).bit_length()) * hw.max_top_k, hw.remembered_tokens, 1


def block_rams(hw: HwConfig) -> float:
    """Return BRAM36."""
    return sum(count * blocks(width, depth) for width, depth, count in memories(hw))


def ram_luts(hw: HwConfig) -> dict[str, int]:
    """Return the LUTs of distributed memory in one of each unit.

    Eight LUTs are 32 words of 14 bits or 64 of 7 with one read port, AMD UG974; the memory of
    LayerNorm, of which Yosys removes a part, is not among these.
    """
    def luts(width: int, depth: int, ports: int = 1) -> int:
        return 8 * ports * min(-(-width // 14) * -(-depth // 32), -(-width // 7) * -(-depth // 64))

    per_word = hw.word // 2
    experts = 1 << (-(-hw.max_experts // per_word) - 1).bit_length()
    return {
        "DmaReader": luts(9, hw.outstanding),
        "Worker": luts(Shape.cast(event_word(hw)).width, hw.queue_words),
        "LaneGroup": luts(hw.word * hw.acc_width, 2 * hw.banks, 2),
        "Drain": luts(Shape.cast(drained(hw)).width, 6 * hw.groups),
        "Gate": luts(per_word * (hw.acc_width + 8), Gate.TOKENS * experts, 2)
        + luts(Shape.cast(route(hw)).width, Gate.ROUTED * hw.max_top_k),
        "Dispatch": luts(1, hw.max_tokens) * hw.temporal,
    }
