"""Who did what: every operator's share of the counters, and what passed each memory for it.

Actions are named as in Timeloop and Sparseloop: ``random_`` happened, ``gated_`` occupied the unit
to no use, ``skipped_`` did not happen; ``read``, ``fill`` (from further out), ``update`` (with
results), ``compute``. Memories count bytes, the multipliers multiply-accumulates.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from deltamoe.rtl import label
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import PARAMETER_BYTES
from deltamoe.rtl.program import (
    DESCRIPTOR_BYTES,
    Attention,
    Dest,
    Linear,
    Load,
    Mode,
    Store,
    Target,
)
from deltamoe.sim.units import last_key

PROGRAM = str(label.PROGRAM)
"""The entry of what belongs to no operator: the program's own loads, and cycles at its end."""

SUM = 4
"""Bytes of an accumulator, or of a kept sum, in its memory."""

STREAM = 3
"""Bytes of an element of the residual stream in its memory."""

KEPT = ("sums_read", "references_read", "references_moved")
"""Words of what a ``LINEAR`` keeps, beside the hardware's counters."""

PLACES = {
    Target.WEIGHTS: ("weight_memory", "weights"), Target.IMAGE: ("operand_memory", "inputs"),
    Target.PARAMETERS: ("parameter_memory", "parameters"),
    Target.NORM: ("parameter_memory", "parameters"), Target.TABLE: ("table_memory", "parameters"),
    Target.RESIDUAL: ("residual_memory", "inputs"), Target.PROGRAM: ("program_memory", "program"),
    Target.STATE: ("state_memory", "sums"), Target.REFERENCE: ("state_memory", "references"),
}
"""On-chip memory and operand of a load."""


SKIPPED = ("skipped_compute", "skipped_read")
"""Actions that did not happen."""


class Act(NamedTuple):
    """``action`` of ``component`` on ``operand`` for ``layer``."""

    layer: str
    component: str
    operand: str
    action: str


class Ledger:
    """Entries by layer: what its loads and its operators counted and did.

    ``counters`` sums to the hardware's counters, ``acts`` holds how often what was done. The gate's
    own registers, event queues and pipeline registers are not memories and not listed.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.counters: dict[str, Counter] = defaultdict(Counter)
        self.acts: dict[Act, int] = defaultdict(int)

    def note(self, layer: str, component: str, operand: str, **actions: int) -> None:
        """Add actions of a component on an operand."""
        for action, count in actions.items():
            if count:
                self.acts[Act(layer, component, operand, action)] += count

    def load(self, layer: str, load: Load, counted: Counter) -> None:
        """Note a load that ``counted``: it reads memory and fills one of the chip's."""
        self.counters[layer].update(counted)
        component, operand = PLACES[load.target]
        size = filled = counted["bytes_read"]
        if load.target == Target.WEIGHTS:
            filled *= self.hw.groups // self.hw.gangs[load.span]
        if load.target == Target.RESIDUAL:
            filled = size * STREAM // 2
        self.note(layer, "dram", operand, random_read=size)
        self.note(layer, component, operand, random_fill=filled)

    def close(self, counters: Mapping[str, int], descriptors: int) -> None:
        """Note what no operator has counted, and what the program itself needs.

        Its first piece is read before any load; two walkers read every descriptor, the one that
        it is for all of it, the other a row.
        """
        shared = sum(self.counters.values(), Counter())
        rest = Counter({name: count - shared[name] for name, count in counters.items()
                        if count != shared[name]})
        self.load(PROGRAM, Load(target=Target.PROGRAM), rest)
        size = descriptors * (DESCRIPTOR_BYTES + self.hw.bus_bytes)
        self.note(PROGRAM, "program_memory", "program", random_read=size)

    def store(self, layer: str, store: Store, counted: Counter) -> None:
        """Note a store that ``counted``: it reads a memory of the chip."""
        self.counters[layer].update(counted)
        component, operand = PLACES[store.target]
        size = counted["bytes_written"]
        if store.target == Target.RESIDUAL:
            operand, size = "outputs", store.beats * self.hw.word * STREAM
        self.note(layer, component, operand, random_read=size)
        self.note(layer, "dram", operand, random_update=counted["bytes_written"])

    def operator(self, layer: str, operator: Linear | Attention, counted: Counter,
                 silent: int) -> None:
        """Note an operator that ``counted``; ``silent`` rows did not change and were left out.

        A split sum is read from all its parts; ``runs`` of events were added to a group's
        accumulators. A replayed row was skipped where it would have been computed.
        """
        hw, runs = self.hw, counted.pop("runs", 0)
        kept = {name: counted.pop(name, 0) for name in KEPT}
        self.counters[layer].update(counted)
        lanes, macs = counted["worker_busy"] * hw.lanes, counted["macs"]
        skipped = counted["macs_skipped"]
        parts, together = 1, 1
        memory = ("kv_memory", "keys_values")
        if isinstance(operator, Linear):
            skipped = 0 if operator.mode == Mode.REPLAY else skipped
            skipped += silent * operator.depth * operator.columns
            parts, together = 1 << operator.split, hw.read_words if operator.wide else 1
            memory = ("weight_memory", "weights")
        else:
            parts = 1 << operator.head_split
            lanes += last_key.products(operator)
        self.note(layer, "multipliers", "products", random_compute=macs,
                  gated_compute=lanes - macs, skipped_compute=skipped)
        self.note(layer, *memory, random_read=lanes, skipped_read=skipped)
        self.note(layer, "operand_memory", "inputs",
                  random_read=counted["source_busy"] * together * hw.word)
        drained, added = counted["drain_busy"] * hw.word, runs * hw.lanes * SUM
        self.note(layer, "accumulators", "outputs", random_update=added,
                  random_read=added + parts * drained * SUM)
        self.note(layer, "parameter_memory", "parameters",
                  random_read=drained * PARAMETER_BYTES)
        self.normalization(layer, counted["norm_words"] * hw.word)
        if isinstance(operator, Linear):
            self.results(layer, operator, drained)
            self.kept(layer, operator, counted, kept)
        else:
            scores = 2 * counted["softmax_words"] * hw.word
            self.note(layer, "softmax", "outputs", random_update=scores, random_read=scores)
            self.note(layer, "operand_memory", "outputs", random_update=drained)

    def normalization(self, layer: str, elements: int) -> None:
        """Note the normalization of ``elements``: residual stream, held rows, operands."""
        self.note(layer, "residual_memory", "inputs", random_read=elements * STREAM)
        self.note(layer, "normalization", "inputs", random_fill=2 * elements,
                  random_read=2 * elements)
        self.note(layer, "parameter_memory", "parameters",
                  random_read=elements * PARAMETER_BYTES)
        self.note(layer, "operand_memory", "inputs", random_fill=elements)

    def results(self, layer: str, linear: Linear, drained: int) -> None:
        """Note where ``drained`` results of a ``LINEAR`` went."""
        hw, dest = self.hw, linear.dest
        if dest in (Dest.ACT, Dest.HIDDEN):
            self.note(layer, "operand_memory", "outputs", random_update=drained)
        if dest == Dest.HIDDEN:
            self.note(layer, "table_memory", "parameters", random_read=drained)
        if dest in (Dest.RESIDUAL, Dest.COMBINE, Dest.OUTPUT):
            self.note(layer, "residual_memory", "outputs", random_read=drained * STREAM,
                      random_update=drained * STREAM)
        if dest in (Dest.KEY, Dest.VALUE):
            turned = drained
            if dest == Dest.KEY:
                turned = -(-linear.rows // hw.word) * hw.word * linear.columns
                self.note(layer, "corner_turn", "keys_values", random_update=drained,
                          random_read=turned)
            copies = hw.gangs[linear.set_size] >> linear.spread + linear.head_split
            self.note(layer, "kv_memory", "keys_values", random_update=turned * copies)

    def kept(self, layer: str, linear: Linear, counted: Counter, kept: Mapping[str, int]) -> None:
        """Note sums and references of the frame before that were read and replaced."""
        word, words = self.hw.word, counted["reference_words"]
        stores = linear.mode == Mode.DELTA or linear.stores
        self.note(layer, "state_memory", "sums", random_read=kept["sums_read"] * word * SUM,
                  random_update=counted["kept_words"] * word * SUM * stores)
        read, moved = kept["references_read"], kept["references_moved"]
        if linear.dest == Dest.CHANGED:
            read, moved = words, words - linear.rows * -(-linear.depth // word)
        self.note(layer, "state_memory", "references", random_read=read * word,
                  random_update=moved * word)
