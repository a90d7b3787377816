"""What makes a descriptor valid: single fields, then ranges one multiplication at a time.

::

    descriptor ──► sizes ──► heads, passes ──► tiles ──► ranges
                 └─────────────────────────────────────► ranges ──► range of the step ──► product
"""

from typing import NamedTuple

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.arith.select import select
from deltamoe.rtl.attention.head_parts import part_rows
from deltamoe.rtl.config import FIELD, HwConfig
from deltamoe.rtl.control.checks.placement import (
    alone,
    placed,
    read_together,
    spread_valid,
    values_valid,
)
from deltamoe.rtl.control.checks.temporal import kept_rules
from deltamoe.rtl.control.checks.transfers import (
    load_fields,
    load_ranges,
    store_fields,
    store_ranges,
)
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Mode, Opcode, Source
from deltamoe.rtl.record import Record


def quotient(value: Value, divisor: int) -> Value:
    """Return ``ceil(value / divisor)`` of 8 bits, from a table; of a power of two by shifting.

    The table is two to three LUTs deep; the reciprocal's partial sums were seven on ``zcu102``.
    """
    if divisor & (divisor - 1) == 0:
        return (value + divisor - 1) // divisor
    return Array(Const(-(-number // divisor), 8) for number in range(256))[value]


class Derived(NamedTuple):
    """What follows from the sizes of a ``LINEAR`` or an ``ATTENTION``, all in registers.

    Attributes
    ----------
    heads, tiles : Signal
        Heads of the set that has most; the tiles of tokens or columns of these, per group.
    key_words, key_tiles : Signal
        Rows of the keys of ``heads``, of one tile each, and of all their tiles but the first of
        each.
    row : Signal
        Words of a token's heads.
    key_rows, value_rows : Signal
        Rows of a tile of keys, of values, in one part of the sums.
    """

    heads: Signal
    tiles: Signal
    key_words: Signal
    key_tiles: Signal
    row: Signal
    key_rows: Signal
    value_rows: Signal


class Checks(cycles.Checks, wiring.Component):
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
    step : ``In(range(steps + LATENCY))``
        Cycles since the descriptor came: ranges are judged one after the other, from
        ``DERIVED`` on.
    memory_size : ``In(32)``
        Bytes that addresses may reach.
    field_valid, range_valid, address_valid : ``Out(1)``
        Single fields are legal; a range lies in its memory, on chip or off.

    Timing
    ------
    Fields and address follow the descriptor by some cycles, at most ``LATENCY``; range ``n`` is
    judged in step ``n + LATENCY``. ``steps`` ranges are all of a descriptor's. A range that
    follows from one product is not the first, one that follows from two is at least the fourth.
    """

    record = Record(moves="judges descriptors")

    def __init__(self, hw: HwConfig, *, loads: bool) -> None:
        self.hw, self.loads, self.steps = hw, loads, self.ranges(loads)
        self.kept = kept_rules(hw)
        super().__init__({
            "descriptor": In(DESCRIPTOR), "step": In(range(self.steps + self.LATENCY)),
            "memory_size": In(32),
            "field_valid": Out(1), "range_valid": Out(1), "address_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        descriptor = self.descriptor
        load = (Opcode.LOAD, load_fields(descriptor.load, self.hw, self.kept),
                load_ranges(descriptor.load, self.hw, self.kept))
        rules = (load,) if self.loads else self.rules(m)
        base, count, stride, limit = self.registers(rules)
        product, bound = Signal((count * stride).shape()), Signal.like(limit)
        offset = Signal.like(base)
        transfer = descriptor.transfer
        reach = transfer.address + transfer.beats * self.hw.bus_bytes
        end, moves, whole = Signal.like(reach), Signal(), Signal()

        m.d.sync += [
            product.eq(count * stride), bound.eq(limit), offset.eq(base),
            self.range_valid.eq(offset + product <= bound),
            end.eq(reach),
            moves.eq((descriptor.opcode == Opcode.LOAD) | (descriptor.opcode == Opcode.STORE)),
            whole.eq((transfer.address % self.hw.bus_bytes == 0) & (transfer.beats != 0)),
            self.address_valid.eq(~moves | (whole & (end <= self.memory_size))),
            self.field_valid.eq(descriptor.opcode == Opcode.HALT),
            *(signal.eq(0) for signal in (base, count, stride, limit)),
        ]
        for opcode, fields, ranges in rules:
            assert len(ranges) <= self.steps
            legal = Signal(len(fields), name=f"legal_{opcode.name.lower()}")
            m.d.sync += legal.eq(Cat(fields))
            ranges = [[self.held(m, value) for value in values] for values in ranges]
            with m.If(descriptor.opcode == opcode):
                m.d.sync += self.field_valid.eq(legal.all())
                with m.Switch(self.step):
                    for number, values in enumerate(ranges):
                        with m.Case(self.DERIVED + number):
                            m.d.sync += [signal.eq(value) for signal, value in
                                         zip((base, count, stride, limit), values, strict=True)]

        return m

    @staticmethod
    def held(m: Module, value) -> Value:
        """Return a part of a range, in a register unless it is constant."""
        value = Value.cast(value)
        if isinstance(value, Const):
            return value
        register = Signal(value.shape())
        m.d.sync += register.eq(value)
        return register

    @staticmethod
    def registers(rules) -> list[Signal]:
        """Registers of a range, as wide as the widest of each part, so that none wraps."""
        parts = zip(*(values for *_, ranges in rules for values in ranges), strict=True)
        return [Signal(max(len(Value.cast(value)) for value in values), name=name)
                for name, values in zip(("base", "count", "stride", "limit"), parts, strict=True)]

    def derive(self, m: Module) -> Derived:
        """Products of the descriptor's fields, a multiplication each, in registers."""
        hw, operator = self.hw, self.descriptor.operator
        wide = (hw.lanes << operator.spread) - 1
        tall = operator.rows + wide
        heads, passes, rises = Signal(8), Signal(8), Signal.like(tall)
        lifted = Signal(9)
        high = Signal(range(FIELD // hw.lanes + (1 << len(hw.spreads(hw.groups)))))
        key_rows, value_rows = (Signal(16, name=name) for name in ("key_rows", "value_rows"))
        products = (heads * passes, heads * key_rows, heads * high,
                    operator.heads * operator.head_words)
        tiles, key_words, key_tiles, row = (
            Signal(product.shape(), name=name) for name, product in zip(
                ("tiles", "key_words", "key_tiles", "row"), products, strict=True))
        quotients = [quotient(operator.heads, hw.groups // size) for size in hw.gangs]
        sizes = [Signal(8, name=f"heads_{size}") for size in hw.gangs]
        attention = self.descriptor.attention
        is_attention = self.descriptor.opcode == Opcode.ATTENTION
        spread = Mux(is_attention, attention.value_spread, operator.spread)
        split = Signal(3)
        m.d.sync += [
            split.eq(Mux(is_attention, operator.spread + operator.head_split - spread,
                         operator.head_split)),
            *(size.eq(value) for size, value in zip(sizes, quotients, strict=True)),
            heads.eq(select(operator.set_size, sizes)),
            lifted.eq((operator.head_words + (2 << spread) - 1) >> 1),
            passes.eq(lifted >> spread),
            rises.eq(tall), high.eq(rises // hw.lanes >> operator.spread),
            key_rows.eq(part_rows(operator.head_words * hw.word, operator.head_split, hw)),
            value_rows.eq(part_rows(operator.rows, split, hw)),
            *(register.eq(product) for register, product in zip(
                (tiles, key_words, key_tiles, row), products, strict=True)),
        ]
        return Derived(heads, tiles, key_words, key_tiles, row, key_rows, value_rows)

    def rules(self, m: Module):
        """Legal fields and ``base + count * stride <= limit`` of every opcode but ``LOAD``."""
        store, linear = self.descriptor.store, self.descriptor.linear
        derived = self.derive(m)
        reads = self.held(m, (linear.depth + self.hw.word - 1) // self.hw.word)
        return (
            (Opcode.LINEAR, self.linear_fields(derived.row), self.linear_ranges(reads, derived)),
            (Opcode.ATTENTION, self.attention_fields(), self.attention_ranges(derived)),
            (Opcode.STORE, store_fields(store, self.kept),
             store_ranges(store, self.hw, self.kept)),
        )

    def linear_fields(self, row):
        """Legal fields of ``LINEAR``."""
        hw, linear = self.hw, self.descriptor.linear
        is_gate, is_kv = linear.dest == Dest.GATE, (
            (linear.dest == Dest.KEY) | (linear.dest == Dest.VALUE))
        gate_valid = (linear.top_k != 0, linear.top_k <= hw.max_top_k,
                      linear.top_k <= linear.num_experts, linear.num_experts <= hw.max_experts,
                      linear.columns >= 2 * linear.num_experts,
                      linear.columns < 2 * linear.num_experts + hw.word)
        is_key = linear.dest == Dest.KEY
        return (
            linear.rows != 0, linear.rows <= hw.max_tokens,
            ~(is_gate | (linear.dest == Dest.CHANGED)) | (linear.rows <= hw.queue_depth),
            linear.depth != 0, linear.depth <= hw.max_depth,
            linear.columns != 0, linear.columns % hw.word == 0,
            placed(linear, hw), (linear.dest < Dest.SCORES) | self.kept.probes(linear),
            linear.source != Source.PROBABILITIES,
            self.kept.allows(linear),
            *(~is_gate | valid for valid in gate_valid),
            ~is_kv | ((linear.head_words != 0) & spread_valid(linear, hw)),
            ~is_kv | (linear.columns // hw.word == row),
            ~is_key | (linear.columns <= hw.max_embed),
            ~(linear.gather | linear.scatter) | (linear.queue < hw.queues),
            ~linear.wide | read_together(linear, hw),
            ~linear.norm | ((linear.dim != 0) & (linear.dim <= hw.max_embed)
                            & (linear.dim % hw.word == 0) & ~self.kept.by_place(linear)),
        )

    def linear_ranges(self, reads, derived: Derived):
        """Ranges of ``LINEAR``.

        Weights, parameters, source, destination, or the experts that a gate remembers; the
        normalization's source and destination, or a row's places.
        """
        hw, linear = self.hw, self.descriptor.linear
        columns, words = linear.columns // hw.word, (linear.depth + hw.word - 1) // hw.word
        rows = select(linear.split, [words * (hw.word >> split) for split in hw.splits])
        rows = rows[: FIELD.bit_length()]  # the words of a row hold at most FIELD elements
        source = Mux(linear.source == Source.NORMED, hw.normed_words,
                     Mux(linear.source == Source.ACT, hw.act_words, hw.reference_words))
        to_act = (linear.dest == Dest.ACT) | (linear.dest == Dest.HIDDEN)
        written = self.kept.entries_range(linear, self.destination_range(
            columns, to_act, derived))
        norm_words = linear.dim // hw.word
        return (
            (linear.weight_base, linear.passes, rows, hw.weight_rows),
            (linear.param_base + columns, 0, 0, hw.param_words),
            (linear.source_base + reads, linear.rows - 1, linear.source_stride, source),
            written,
            (Mux(linear.norm, linear.norm_source, 0), Mux(linear.norm, linear.rows, 0), norm_words,
             hw.residual_words),
            self.kept.places_range(linear, (
                0, Mux(linear.norm, linear.rows, 0), norm_words, hw.normed_words)),
            *self.kept.ranges(linear, reads),
        )

    def destination_range(self, columns, to_act, derived: Derived):
        """Range that ``LINEAR`` writes."""
        hw, linear = self.hw, self.descriptor.linear
        is_key, is_value = linear.dest == Dest.KEY, linear.dest == Dest.VALUE
        is_kv, is_gate = is_key | is_value, linear.dest == Dest.GATE
        return (
            Mux(is_gate | self.kept.probes(linear), 0,
                linear.dest_base + Mux(is_key, derived.key_words, Mux(is_value, 0, columns))),
            Mux(is_gate | self.kept.probes(linear), 0,
                Mux(is_key, derived.heads, Mux(is_value, derived.tiles, linear.rows - 1))),
            Mux(is_key, linear.key_gap, Mux(is_value, derived.value_rows, linear.dest_stride)),
            Mux(is_kv, hw.kv_rows, Mux(to_act, hw.act_words, hw.residual_words)),
        )

    def attention_fields(self):
        """Legal fields of ``ATTENTION``."""
        hw, attention = self.hw, self.descriptor.attention
        return (
            attention.rows != 0, attention.rows <= hw.max_tokens, attention.heads != 0,
            attention.head_dim != 0, attention.head_dim % hw.word == 0,
            attention.head_dim <= hw.max_depth, spread_valid(attention, hw),
            values_valid(attention, hw),
            attention.head_words == attention.head_dim // hw.word, attention.mode < Mode.DELTA,
            *((~attention.last_key | alone(attention, hw),) if hw.last_key else ()),
        )

    def attention_ranges(self, derived: Derived):
        """Ranges of ``ATTENTION``: parameters, queries, outputs, keys, values."""
        hw, attention = self.hw, self.descriptor.attention
        return (
            (attention.param_base + attention.heads, 0, 0, hw.param_words),
            (attention.source_base + derived.row, attention.rows - 1, attention.source_stride,
             hw.act_words),
            (attention.dest_base + derived.row, attention.rows - 1, attention.dest_stride,
             hw.act_words),
            (attention.key_base, derived.key_tiles, derived.key_rows, hw.kv_rows),
            (attention.value_base, derived.tiles, derived.value_rows, hw.kv_rows),
        )
