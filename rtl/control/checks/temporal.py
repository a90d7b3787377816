"""What makes the kept sums and references of a ``LINEAR`` valid."""

from amaranth import Mux

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest, Mode


def probes(given, hw: HwConfig):
    """Whether tokens are compared with what they were, if this hardware does."""
    return (given.dest == Dest.CHANGED) & hw.temporal


def by_place(given, hw: HwConfig):
    """Whether sums are kept, or added to, that are found by a row's place."""
    uses = given.stores | (given.mode >= Mode.DELTA)
    return uses & (given.gather | given.scatter) & hw.temporal


def kept_ranges(given, hw: HwConfig):
    """Ranges of the kept sums and of the references."""
    if not hw.temporal:
        return ()
    tracks = probes(given, hw) | (given.mode == Mode.DELTA)
    uses = (given.stores | (given.mode >= Mode.DELTA)) & ~probes(given, hw)
    found = by_place(given, hw)
    words, columns = (given.depth + hw.word - 1) // hw.word, given.columns // hw.word
    return (
        (given.state_base + Mux(found, columns, 0),
         Mux(uses, Mux(found, given.places - 1, given.rows), 0),
         Mux(found, given.dest_stride, columns), hw.state_words),
        (Mux(tracks, given.reference_base + words, 0),
         Mux(tracks, Mux(found, given.places, given.rows) - 1, 0), given.source_stride,
         hw.reference_words),
    )


def places_range(given, hw: HwConfig, other):
    """Range of a row's places, ``slots`` for each token, or ``other`` if it has none."""
    own = (0, given.slots, given.rows, given.places)
    return instead(by_place(given, hw), own, other)


def entries_range(given, hw: HwConfig, other):
    """Range of the tokens' experts if a gate remembers them, else ``other``."""
    remembers = (given.dest == Dest.GATE) & given.remembers & hw.temporal
    return instead(remembers, (given.remembered_base, given.rows, 1, hw.remembered_tokens), other)


def instead(chosen, own, other):
    """Return ``own`` values where ``chosen``, else the ``other``."""
    return tuple(Mux(chosen, *pair) for pair in zip(own, other, strict=True))
