"""What makes a ``LOAD`` or a ``STORE`` valid."""

from amaranth import Mux

from deltamoe.golden.numerics import TABLE
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.checks.temporal import NothingKept
from deltamoe.rtl.cycles import DESCRIPTOR_BYTES
from deltamoe.rtl.descriptor import Target


def store_fields(store, kept: NothingKept):
    """Whether this hardware stores from the target."""
    return ((store.target == Target.RESIDUAL) | kept.stores(store),)


def store_ranges(store, hw: HwConfig, kept: NothingKept):
    """Range of ``STORE``: what it reads."""
    return (kept.transfer_range(store, (store.base, store.beats, 1, hw.residual_words)),)


def load_fields(load, hw: HwConfig, kept: NothingKept):
    """Legal fields of ``LOAD``."""
    in_words = (load.target == Target.PARAMETERS) | (load.target == Target.NORM)
    return (
        load.target <= kept.last_target,
        load.span < len(hw.gangs), (load.target != Target.STATE) | ~load.beats[0],
        ~in_words | (load.beats % 4 == 0),
        (load.target != Target.TABLE) | (load.beats == TABLE // hw.bus_bytes),
        (load.target != Target.PROGRAM)
        | (load.beats == load.descriptors * (DESCRIPTOR_BYTES // hw.bus_bytes)),
        ~load.skip_if_empty | (load.expert < hw.max_experts),
    )


def load_ranges(load, hw: HwConfig, kept: NothingKept):
    """Ranges of ``LOAD``: what its target holds, and a weight load's count of beats."""
    words = load.beats // 4
    is_weights = load.target == Target.WEIGHTS
    ranges = {Target.WEIGHTS: (load.base, load.passes, load.tile_rows, hw.weight_rows),
              Target.PARAMETERS: (load.base, words, 1, hw.param_words),
              Target.NORM: (load.base, words, 1, hw.norm_words),
              Target.TABLE: (0, 0, 0, 0),
              Target.RESIDUAL: (load.base, load.beats, 1, hw.residual_words),
              Target.IMAGE: (load.base, load.beats, 2, hw.act_words),
              Target.PROGRAM: (load.base, load.descriptors, 1, hw.program_depth)}
    chosen = ranges[Target.TABLE]
    for target, values in ranges.items():
        chosen = tuple(Mux(load.target == target, value, former)
                       for value, former in zip(values, chosen, strict=True))
    return (kept.transfer_range(load, chosen),
            (0, Mux(is_weights, load.tiles, 0), load.tile_rows, load.beats))
