"""What makes a ``LOAD`` or a ``STORE`` valid."""

from amaranth import Mux

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import DESCRIPTOR_BYTES
from deltamoe.rtl.descriptor import Target


def store_fields(given, hw: HwConfig):
    """Whether this hardware stores from the target."""
    return (given.target == Target.RESIDUAL) | (hw.temporal & (
        (given.target == Target.REFERENCE)
        | ((given.target == Target.STATE) & ~given.beats[0])))


def store_ranges(given, hw: HwConfig):
    """Range of ``STORE``: what it reads."""
    return (kept_range(given, hw, (given.base, given.beats, 1, hw.residual_words)),)


def kept_range(given, hw: HwConfig, other):
    """Range of a transfer of kept sums or references, if it is one."""
    if not hw.temporal:
        return other
    made = {Target.STATE: (given.base, given.beats >> 1, 1, hw.state_words),
            Target.REFERENCE: (given.base, given.beats, 2, hw.reference_words)}
    for target, values in made.items():
        other = tuple(Mux(given.target == target, value, kept)
                      for value, kept in zip(values, other, strict=True))
    return other


def load_fields(given, hw: HwConfig):
    """Legal fields of ``LOAD``."""
    in_words = (given.target == Target.PARAMETERS) | (given.target == Target.NORM)
    return (
        (given.target <= (max(Target) if hw.temporal else Target.PROGRAM))
        & (given.span < len(hw.gangs)) & ((given.target != Target.STATE) | ~given.beats[0])
        & (~in_words | (given.beats % 4 == 0))
        & ((given.target != Target.TABLE) | (given.beats == 1024 // hw.bus_bytes))
        & ((given.target != Target.PROGRAM)
           | (given.beats == given.descriptors * (DESCRIPTOR_BYTES // hw.bus_bytes)))
        & (~given.skip_if_empty | (given.expert < hw.max_experts))
    )


def load_ranges(given, hw: HwConfig):
    """Ranges of ``LOAD``: what its target holds, and a weight load's count of beats."""
    words = given.beats // 4
    is_weights = given.target == Target.WEIGHTS
    bases = {Target.WEIGHTS: (given.base, given.passes, given.tile_rows, hw.weight_rows),
             Target.PARAMETERS: (given.base, words, 1, hw.param_words),
             Target.NORM: (given.base, words, 1, hw.norm_words),
             Target.TABLE: (0, 0, 0, 0),
             Target.RESIDUAL: (given.base, given.beats, 1, hw.residual_words),
             Target.IMAGE: (given.base, given.beats, 2, hw.act_words),
             Target.PROGRAM: (given.base, given.descriptors, 1, hw.program_depth)}
    chosen = bases[Target.TABLE]
    for target, values in bases.items():
        chosen = tuple(Mux(given.target == target, value, kept)
                       for value, kept in zip(values, chosen, strict=True))
    return (kept_range(given, hw, chosen),
            (0, Mux(is_weights, given.tiles, 0), given.tile_rows, given.beats))
