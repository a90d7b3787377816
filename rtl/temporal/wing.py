"""What is kept from one frame to the next, behind the same signatures whether it is there or not.

::

    sums of a word ──► kept sums ──► sum ──► drain
    references ◄── encoder
        └──► operands, STORE
"""

from amaranth import Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.interfaces import (
    Counts,
    Recall,
    Write,
    YieldingRead,
    YieldingWrite,
    attach,
    bytes_of,
    sums_of,
)
from deltamoe.rtl.linear.compute_unit import Sums
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Record
from deltamoe.rtl.temporal.kept_sums import KeptSums, KeptWord


class TemporalWing(wiring.Component):
    """Kept sums and references; without them, what is summed passes and nothing is ever read.

    Members
    -------
    sums, computed : ``In(Sums(hw))``, ``Out(Sums(hw))``
        The oldest item's sums with what is kept, and those of this frame's events.
    kept : ``In(KeptWord(hw))``
        As in :class:`deltamoe.rtl.temporal.kept_sums.KeptSums`.
    recall : ``In(Recall(hw))``
        References that operands are compared with.
    update : ``In(Write(hw.reference_words, bytes_of(hw)))``
        References that change.
    load : ``In(YieldingWrite(hw.state_words, int32 of a word))``
        Sums from memory.
    state, references : ``In(YieldingRead(…))``
        Read ports for ``STORE``.
    counts : ``Out(Counts(…))``
        A word is added to or kept.

    Timing
    ------
    ``sums.acc`` follows ``computed.acc`` by ``KeptSums.LATENCY`` cycles, or by none; all else of
    them is of the same cycle.
    """

    record = Record(moves="keeps sums and references", combinational={
        "computed.gang": ("sums.gang",), "computed.groups": ("sums.groups",),
        "computed.next_groups": ("sums.next_groups",),
        "computed.release": ("sums.release",), "computed.word": ("sums.word",),
        "counts.kept_words": ("kept.where",),
        "load.free": ("kept.passes",),
        "references.granted": ("recall.recalls",),
        "state.granted": ("kept.where",),
        "sums.summed": ("computed.summed",),
    })

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "sums": In(Sums(hw)), "computed": Out(Sums(hw)), "kept": In(KeptWord(hw)),
            "recall": In(Recall(hw)), "update": In(Write(hw.reference_words, bytes_of(hw))),
            "load": In(YieldingWrite(hw.state_words, data.ArrayLayout(signed(32), hw.word))),
            "state": In(YieldingRead(hw.state_words, sums_of(hw))),
            "references": In(YieldingRead(hw.reference_words, bytes_of(hw))),
            "counts": Out(Counts({"kept_words": 1})),
        })

    def elaborate(self, platform):
        m, sums, computed = Module(), self.sums, self.computed
        m.d.comb += [
            computed.groups.eq(sums.groups), computed.next_groups.eq(sums.next_groups),
            computed.gang.eq(sums.gang),
            computed.word.eq(sums.word), computed.release.eq(sums.release),
            sums.summed.eq(computed.summed),
        ]
        if self.hw.temporal:
            self.keep_sums(m)
            self.keep_references(m)
        else:
            m.d.comb += sums.acc.eq(computed.acc)

        return m

    def keep_sums(self, m: Module):
        """Add to the sums of the frame before."""
        m.submodules.kept_sums = sums = KeptSums(self.hw)
        for own, port in ((self.kept, sums.kept), (self.load, sums.load),
                          (self.state, sums.store)):
            wiring.connect(m, flipped(own), port)
        where = self.kept.where
        m.d.comb += [sums.acc.eq(self.computed.acc), self.sums.acc.eq(sums.sum),
                     self.counts.kept_words.eq(where.accumulates | where.stores)]

    def keep_references(self, m: Module):
        """Remember what was sent of operands; ``STORE`` reads it when no operand needs it."""
        hw, recall, stored = self.hw, self.recall, self.references
        m.submodules.references = references = BlockMemory(bytes_of(hw), hw.reference_words)
        read = references.read_port()
        attach(m, self.update, references.write_port())
        m.d.comb += [
            read.addr.eq(Mux(recall.recalls, recall.address, stored.address)),
            recall.data.eq(read.data), stored.data.eq(read.data),
            stored.granted.eq(~recall.recalls),
        ]
