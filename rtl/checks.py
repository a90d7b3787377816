"""What makes a descriptor valid: single fields, then ranges one multiplication at a time."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.program import DESCRIPTOR, Dest, Mode, Opcode, Source
from rtl.temporal.ranges import by_place, entries_range, kept_ranges, places_range, probes
from rtl.transfers import load_fields, load_ranges, store_fields, store_ranges

STEPS = 8
"""Range checks of a descriptor, one a cycle."""


class Checks(wiring.Component):
    """Judge a descriptor against the maxima of the hardware and the size of the memory.

    Parameters
    ----------
    hw : HwConfig
        The maxima.
    loads : bool
        Whether to judge loads, or all other descriptors.

    Members
    -------
    descriptor : ``In(DESCRIPTOR)``
        Descriptor to judge.
    step : ``In(range(STEPS))``
        Range check to judge it by.
    memory_size : ``In(32)``
        Bytes that addresses may reach.
    field_valid, range_valid, address_valid : ``Out(1)``
        Single fields are legal; the range of this step lies in its memory, on chip or off.

    Timing
    ------
    Combinational.
    """

    def __init__(self, hw: HwConfig, *, loads: bool) -> None:
        self.hw, self.loads = hw, loads
        super().__init__({
            "descriptor": In(DESCRIPTOR), "step": In(range(STEPS)), "memory_size": In(32),
            "field_valid": Out(1), "range_valid": Out(1), "address_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        base, count, stride, limit = Signal(16), Signal(24), Signal(16), Signal(24)
        given = self.descriptor
        end = given.address + given.beats * self.hw.bus_bytes
        moves = (given.opcode == Opcode.LOAD) | (given.opcode == Opcode.STORE)

        m.d.comb += [
            self.range_valid.eq(base + count * stride <= limit),
            self.address_valid.eq(~moves | ((given.address % self.hw.bus_bytes == 0)
                                            & (given.beats != 0) & (end <= self.memory_size))),
        ]
        load = (Opcode.LOAD, load_fields(given, self.hw), load_ranges(given, self.hw))
        for opcode, fields, ranges in (load,) if self.loads else self.rules():
            with m.If(given.opcode == opcode):
                m.d.comb += self.field_valid.eq(fields)
                with m.Switch(self.step):
                    for number, values in enumerate(ranges):
                        with m.Case(number):
                            m.d.comb += [signal.eq(value) for signal, value in
                                         zip((base, count, stride, limit), values, strict=True)]
        with m.If(given.opcode == Opcode.HALT):
            m.d.comb += self.field_valid.eq(1)

        return m

    def rules(self):
        """Legal fields and ``base + count * stride <= limit`` of every opcode but ``LOAD``."""
        given, routed = self.descriptor, self.descriptor.gather | self.descriptor.scatter
        return (
            (Opcode.LINEAR, self.linear_fields(), self.linear_ranges()),
            (Opcode.ATTENTION, self.attention_fields(), self.attention_ranges()),
            (Opcode.STORE, (given.rows == 1) & ~routed & store_fields(given, self.hw),
             store_ranges(given, self.hw)),
        )

    def linear_fields(self):
        """Legal fields of ``LINEAR``."""
        hw, given = self.hw, self.descriptor
        is_gate, is_kv = given.dest == Dest.GATE, (
            (given.dest == Dest.KEY) | (given.dest == Dest.VALUE))
        gate_valid = ((given.top_k != 0) & (given.top_k <= hw.max_top_k)
                      & (given.top_k <= given.num_experts) & (given.num_experts <= hw.max_experts)
                      & (given.columns >= 2 * given.num_experts))
        return (
            (given.rows != 0) & (given.rows <= hw.max_tokens)
            & (given.depth != 0) & (given.depth <= hw.max_depth)
            & (given.columns != 0) & (given.columns % hw.word == 0)
            & self.placed() & ((given.dest < Dest.SCORES) | probes(given, hw))
            & (given.source != Source.PROBABILITIES)
            & (hw.temporal | ((given.source != Source.REFERENCE) & (given.mode < Mode.DELTA)))
            & (~is_gate | gate_valid)
            & (~is_kv | ((given.head_words != 0) & self.spread_valid()))
            & (~(given.gather | given.scatter) | (given.expert < hw.queues))
            & (~given.norm | ((given.dim != 0) & (given.dim <= hw.max_embed)
                              & (given.dim % hw.word == 0) & ~by_place(given, hw)))
        )

    def linear_ranges(self):
        """Ranges of ``LINEAR``.

        Weights, parameters, source, destination, or the experts that a gate remembers; the
        normalization's source and destination, or a row's places.
        """
        hw, given = self.hw, self.descriptor
        columns, reads = given.columns // hw.word, (given.depth + hw.word - 1) // hw.word
        rows = self.select(given.split, [reads * (hw.word >> split)
                                         for split in range(hw.word.bit_length())])
        source = Mux(given.source == Source.NORMED, hw.normed_words,
                     Mux(given.source == Source.ACT, hw.act_words, hw.reference_words))
        to_act = (given.dest == Dest.ACT) | (given.dest == Dest.HIDDEN)
        written = entries_range(given, hw, self.destination_range(columns, to_act))
        norm_words = given.dim // hw.word
        return (
            (given.weight_base, given.passes, rows, hw.weight_rows),
            (given.param_base + columns, 0, 0, hw.param_words),
            (given.source_base + reads, given.rows - 1, given.source_stride, source),
            written,
            (Mux(given.norm, given.norm_source, 0), Mux(given.norm, given.rows, 0), norm_words,
             hw.residual_words),
            places_range(given, hw, (
                0, Mux(given.norm, given.rows, 0), norm_words, hw.normed_words)),
            *kept_ranges(given, hw),
        )

    def select(self, index, values):
        """Return ``values[index]``, zero beyond the end."""
        chosen = 0
        for number, value in enumerate(values):
            chosen = Mux(index == number, value, chosen)
        return chosen

    def placed(self):
        """Whether the span is the gang for every part."""
        hw, given = self.hw, self.descriptor
        gang, span = (self.select(index, hw.gangs) for index in (given.gang, given.span))
        return (gang != 0) & (given.split < hw.word.bit_length()) & (gang << given.split == span)

    def heads_in_set(self):
        """Heads that one set of groups holds."""
        sizes = self.hw.gangs
        heads = [(self.descriptor.heads + self.hw.groups // size - 1) // (self.hw.groups // size)
                 for size in sizes]
        return self.select(self.descriptor.set_size, heads)

    def value_passes(self):
        """Passes over one head's tiles of values."""
        given = self.descriptor
        return (given.head_words + (2 << given.spread) - 1) >> 1 >> given.spread

    def spread_valid(self):
        """Whether the groups of a set can be spread over."""
        hw, given = self.hw, self.descriptor
        allowed = self.select(given.set_size, [
            sum(1 << spread for spread in hw.spreads(size)) for size in hw.gangs])
        return (allowed >> given.spread)[0]

    def destination_range(self, columns, to_act):
        """Range that ``LINEAR`` writes."""
        hw, given = self.hw, self.descriptor
        is_key, is_value = given.dest == Dest.KEY, given.dest == Dest.VALUE
        is_kv, is_gate = is_key | is_value, given.dest == Dest.GATE
        tiles = self.heads_in_set() * self.value_passes()
        return (
            Mux(is_gate | probes(given, hw), 0, given.dest_base + Mux(
                is_key, self.heads_in_set() * given.head_words * hw.word,
                Mux(is_value, 0, columns))),
            Mux(is_gate | probes(given, hw), 0,
                Mux(is_key, self.heads_in_set(), Mux(is_value, tiles, given.rows - 1))),
            given.dest_stride,
            Mux(is_kv, hw.kv_rows, Mux(to_act, hw.act_words, hw.residual_words)),
        )

    def attention_fields(self):
        """Legal fields of ``ATTENTION``."""
        hw, given = self.hw, self.descriptor
        return (
            (given.rows != 0) & (given.rows <= hw.max_tokens) & (given.heads != 0)
            & ~(given.gather | given.scatter | given.norm)
            & (given.columns != 0) & (given.columns % hw.word == 0)
            & (given.columns <= hw.max_depth) & self.spread_valid()
            & (given.head_words == given.columns // hw.word) & (given.mode < Mode.DELTA)
        )

    def attention_ranges(self):
        """Ranges of ``ATTENTION``: keys, values, queries, outputs, parameters."""
        hw, given = self.hw, self.descriptor
        wide = (hw.lanes << given.spread) - 1
        key_tiles = self.heads_in_set() * ((given.rows + wide) // hw.lanes >> given.spread)
        value_tiles = self.heads_in_set() * self.value_passes()
        row = given.heads * given.head_words
        return (
            (given.weight_base, key_tiles, given.columns, hw.kv_rows),
            (given.norm_base, value_tiles, given.rows, hw.kv_rows),
            (given.source_base + row, given.rows - 1, given.source_stride, hw.act_words),
            (given.dest_base + row, given.rows - 1, given.source_stride, hw.act_words),
            (given.param_base + given.heads, 0, 0, hw.param_words),
        )
