"""What makes the kept sums and references of a ``LINEAR`` valid."""

from amaranth import Mux

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest, Mode


def probes(linear, hw: HwConfig):
    """Whether tokens are compared with what they were, if this hardware does."""
    return (linear.dest == Dest.CHANGED) & hw.temporal


def by_place(linear, hw: HwConfig):
    """Whether sums are kept, or added to, that are found by a row's place."""
    uses = linear.stores | (linear.mode >= Mode.DELTA)
    return uses & (linear.gather | linear.scatter) & hw.temporal


def kept_ranges(linear, hw: HwConfig):
    """Ranges of the kept sums and of the references."""
    if not hw.temporal:
        return ()
    tracks = probes(linear, hw) | (linear.mode == Mode.DELTA)
    uses = (linear.stores | (linear.mode >= Mode.DELTA)) & ~probes(linear, hw)
    found = by_place(linear, hw)
    words, columns = (linear.depth + hw.word - 1) // hw.word, linear.columns // hw.word
    return (
        (linear.state_base + Mux(found, columns, 0),
         Mux(uses, Mux(found, linear.places - 1, linear.rows), 0),
         Mux(found, linear.dest_stride, columns), hw.state_words),
        (Mux(tracks, linear.reference_base + words, 0),
         Mux(tracks, Mux(found, linear.places, linear.rows) - 1, 0), linear.source_stride,
         hw.reference_words),
    )


def places_range(linear, hw: HwConfig, other):
    """Range of a row's places, ``slots`` for each token, or ``other`` if it has none."""
    own = (0, linear.slots, linear.rows, linear.places)
    return instead(by_place(linear, hw), own, other)


def entries_range(linear, hw: HwConfig, other):
    """Range of the tokens' experts if a gate remembers them, else ``other``."""
    remembers = (linear.dest == Dest.GATE) & linear.remembers & hw.temporal
    return instead(remembers, (linear.remembered_base, linear.rows, 1, hw.remembered_tokens), other)


def instead(chosen, own, other):
    """Return ``own`` values where ``chosen``, else the ``other``."""
    return tuple(Mux(chosen, *pair) for pair in zip(own, other, strict=True))
