"""What the fields of a descriptor mean, in a line each, for the tables of ``rtl/README.md``.

``rtl/program.py`` says the same in full; ``tests/test_documents.py`` compares names and opcodes.
"""

from collections.abc import Mapping
from typing import NamedTuple

from deltamoe.rtl.program import Opcode

LOAD, LINEAR, ATTENTION, STORE, HALT = Opcode


class Field(NamedTuple):
    """For which opcodes a field is set, and what it means."""

    opcodes: tuple[Opcode, ...]
    meaning: str


FIELDS: Mapping[str, Field] = {
    "opcode": Field(tuple(Opcode), "what the descriptor does"),
    "target": Field((LOAD, STORE), "on-chip memory that a load fills or a store reads"),
    "source": Field((LINEAR,), "memory of the left operand"),
    "dest": Field((LINEAR,), "where the product goes"),
    "mode": Field((LINEAR, ATTENTION), "which elements of the operand become events"),
    "norm": Field((LINEAR,), "1: normalize the rows of the residual stream first"),
    "gather": Field((LINEAR,), "1: read the rows of the tokens in the queue of `expert`"),
    "scatter": Field((LINEAR,), "1: write the rows of the tokens in the queue of `expert`"),
    "skip_if_empty": Field((LOAD,), "1: skip the load if `expert` has no tokens"),
    "operand_signed": Field((LINEAR,), "1: the operand is int8, else uint8"),
    "bank": Field((LOAD, LINEAR), "bank of the activation table"),
    "by_row": Field((LINEAR, ATTENTION), "1: each row waits only for the same row of the last one"),
    "shift": Field((LINEAR, ATTENTION), "requantization divides by 2**(14 + 4 * `shift`)"),
    "gang": Field((LOAD, LINEAR), "index of the gang's size in `HwConfig.gangs`"),
    "split": Field((LOAD, LINEAR), "2**`split` gangs hold parts of the sum"),
    "span": Field((LOAD, LINEAR), "index of the span's size in `HwConfig.gangs`"),
    "set_size": Field((LINEAR, ATTENTION), "index of the groups of a set in `HwConfig.gangs`"),
    "spread": Field((LINEAR, ATTENTION), "2**`spread` groups of a set hold different tiles"),
    "wide": Field((LINEAR,), "1: read `read_words` words of activations at a time"),
    "top_k": Field((LINEAR,), "experts of a token: of a gate, or of a layer with places"),
    "gain_shift": Field((LINEAR,), "fraction bits of the normalization's gain"),
    "head_words": Field((LINEAR, ATTENTION), "words of a head's row"),
    "wait_loads": Field((LOAD, LINEAR, ATTENTION, STORE),
                        "loads that must have finished; for a load, transfers of stores"),
    "wait_computes": Field((LOAD, LINEAR, ATTENTION, STORE),
                           "compute descriptors that must have finished"),
    "routed": Field((LOAD,), "compute descriptors after which the routing is known"),
    "address": Field((LOAD, STORE), "byte address in memory, from the base on"),
    "beats": Field((LOAD, STORE), "AXI data beats"),
    "expert": Field((LOAD, LINEAR), "expert, or queue of tokens"),
    "rows": Field((LOAD, LINEAR, ATTENTION, STORE),
                  "tokens; of a load of the program, descriptors"),
    "depth": Field((LOAD, LINEAR), "length of the sum; of a load of weights, rows of a tile"),
    "columns": Field((LOAD, LINEAR, ATTENTION),
                     "outputs of a row; of a load of weights, tiles"),
    "passes": Field((LOAD, LINEAR), "passes of columns"),
    "source_base": Field((LINEAR, ATTENTION), "first word of the operand"),
    "source_stride": Field((LINEAR, ATTENTION), "words from row to row of the operand"),
    "dest_base": Field((LOAD, LINEAR, ATTENTION), "first word of what is written"),
    "dest_stride": Field((LINEAR,), "words from row to row of what is written"),
    "weight_base": Field((LOAD, LINEAR, ATTENTION), "first row of weights"),
    "param_base": Field((LOAD, LINEAR, ATTENTION), "first word of biases and multipliers"),
    "norm_base": Field((LOAD, LINEAR, ATTENTION), "first word of the normalization's parameters"),
    "norm_source": Field((LINEAR, STORE), "first word of the residual stream, or of a store"),
    "epsilon": Field((LINEAR,), "what is added to the normalization's variance"),
    "kappa22": Field((ATTENTION,), "output scale times 2**22"),
    "kappa26": Field((ATTENTION,), "output scale times 2**26"),
    "multiplier": Field((LINEAR,), "scale of a gate's logits"),
    "num_experts": Field((LINEAR,), "experts of a gate"),
    "heads": Field((LINEAR, ATTENTION), "attention heads"),
    "zero_point": Field((LINEAR,), "code of zero, which zero-skipping leaves out"),
    "dim": Field((LINEAR,), "elements of a normalized row"),
}

ATTENDS: Mapping[str, str] = {
    "opcode": "`ATTENTION`", "mode": "`DENSE` or `ZERO_SKIP`, for queries and probabilities",
    "by_row": "1: only the sums of values wait for the last descriptor waited for",
    "columns": "elements of a head, `head_dim`", "heads": "heads",
    "head_words": "words of a head's row: `head_dim` over the elements of a word",
    "rows": "tokens", "source_base": "first word of the queries, in the memory of activations",
    "source_stride": "words from token to token of queries and results",
    "dest_base": "first word of the results, in the memory of activations",
    "weight_base": "first row of the keys, in the memory of keys and values",
    "norm_base": "first row of the values, in the same memory",
    "param_base": "first of `heads` words of parameters: the multipliers of the scores",
    "shift": "scores are divided by 2**(14 + 4 * `shift`)",
    "kappa22": "output scale times 2**22, for rows whose sum of exponentials is below 4096",
    "kappa26": "output scale times 2**26, for all other rows",
    "set_size": "index of the groups of a set in `HwConfig.gangs`",
    "spread": "2**`spread` neighboring groups of a set hold different tiles of a head",
    "wait_loads": "loads that must have finished: all before it",
    "wait_computes": "compute descriptors that must have finished: to that of the values",
}
"""The fields that ``ATTENTION`` has, and what they hold there."""

KEPT: Mapping[str, str] = {
    "state_base": "first word of the kept sums",
    "reference_base": "first word of the references",
    "theta": "largest difference that is left out",
    "places": "places that there are; of a gate, the first entry of the experts it remembers",
    "fresh": "1: nothing was kept before; send all elements",
    "keeps": "1: leave the reference, since another descriptor has the same operand",
    "stores": "1: keep the sums of a dense layer",
    "gated": "1: tokens that did not change go to the silent queues of their experts",
    "remembers": "1: keep which experts the tokens have",
    "spare": "not used",
}
"""The fields of ``TEMPORAL``, which ``LINEAR`` has in place of ``kappa22`` and ``kappa26``."""
