"""What makes the kept sums and references of a descriptor valid, or that there are none."""

from amaranth import Const, Mux

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest, Mode, Source, Target


class NothingKept:
    """Rules of hardware that keeps nothing from frame to frame.

    Attributes
    ----------
    last_target : Target
        The last that can be loaded, in the order of their numbers.
    """

    last_target = Target.PROGRAM

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw

    def allows(self, linear):
        """Whether a ``LINEAR`` computes what this hardware can."""
        return ((linear.source != Source.REFERENCE) & (linear.mode < Mode.DELTA)
                & ~linear.adds)

    def probes(self, linear):
        """Whether tokens are compared with what they were."""
        return Const(0)

    def by_place(self, linear):
        """Whether sums are kept, or added to, that are found by a row's place."""
        return Const(0)

    def ranges(self, linear, words) -> tuple:
        """Ranges of the kept sums and of the references, of rows of ``words`` words."""
        return ()

    def places_range(self, linear, other):
        """Range of a row's places, ``slots`` for each token, or ``other`` if it has none."""
        return other

    def entries_range(self, linear, other):
        """Range of the tokens' experts if a gate remembers them, else ``other``."""
        return other

    def stores(self, store):
        """Whether a ``STORE`` is of kept sums or references."""
        return Const(0)

    def transfer_range(self, transfer, other):
        """Range of a transfer of kept sums or references, if it is one, else ``other``."""
        return other


class Kept(NothingKept):
    """Rules of hardware that keeps sums and references."""

    last_target = max(Target)

    def allows(self, linear):
        return Const(1)

    def probes(self, linear):
        return linear.dest == Dest.CHANGED

    def by_place(self, linear):
        uses = linear.stores | linear.adds | (linear.mode >= Mode.DELTA)
        return uses & (linear.gather | linear.scatter)

    def ranges(self, linear, words) -> tuple:
        hw, probes, found = self.hw, self.probes(linear), self.by_place(linear)
        tracks = probes | (linear.mode == Mode.DELTA)
        uses = (linear.stores | linear.adds | (linear.mode >= Mode.DELTA)) & ~probes
        columns = linear.columns // hw.word
        return (
            (linear.state_base + Mux(found, columns, 0),
             Mux(uses, Mux(found, linear.places - 1, linear.rows), 0),
             Mux(found, linear.dest_stride, columns), hw.state_words),
            (Mux(tracks, linear.reference_base + words, 0),
             Mux(tracks, Mux(found, linear.places, linear.rows) - 1, 0), linear.source_stride,
             hw.reference_words),
        )

    def places_range(self, linear, other):
        return instead(self.by_place(linear), (0, linear.slots, linear.rows, linear.places), other)

    def entries_range(self, linear, other):
        remembers = (linear.dest == Dest.GATE) & linear.remembers
        return instead(remembers, (linear.remembered_base, linear.rows, 1,
                                   self.hw.remembered_tokens), other)

    def stores(self, store):
        return (store.target == Target.REFERENCE) | (
            (store.target == Target.STATE) & ~store.beats[0])

    def transfer_range(self, transfer, other):
        ranges = {
            Target.STATE: (transfer.base, transfer.beats >> 1, 1, self.hw.state_words),
            Target.REFERENCE: (transfer.base, transfer.beats, 2, self.hw.reference_words)}
        for target, values in ranges.items():
            other = instead(transfer.target == target, values, other)
        return other


def kept_rules(hw: HwConfig) -> NothingKept:
    """Return the rules of this hardware."""
    return Kept(hw) if hw.temporal else NothingKept(hw)


def instead(chosen, own, other):
    """Return ``own`` values where ``chosen``, else the ``other``."""
    return tuple(Mux(chosen, *pair) for pair in zip(own, other, strict=True))
