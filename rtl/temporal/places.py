"""Where a token's experts keep what they know of it: in a slot each, while it stays with them.

::

    winners ───────────────────────► compare ──► slot, known
    experts of the frame before ──────┘   └──► experts of this frame
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.record import Ram, Record


class Places(wiring.Component):
    """Give each of a token's ``top_k`` experts one of ``top_k`` slots.

    An expert that the token had in the frame before keeps its slot and is ``known``; any other gets
    the first slot that none of these has. Without an earlier frame the slot is the rank.

    Members
    -------
    start : ``In(1)``
        Begin with token 0.
    base, remembers, fresh, top_k : ``In``
        Entry of token 0; whether entries are kept at all; whether there was no earlier frame.
    winners : ``In(8).array(hw.max_top_k)``
        The token's experts, of which the first ``top_k`` count; stable while they are ``expert``.
    valid, last, expert : ``In(1)``, ``In(1)``, ``In(8)``
        One winner after the other, and the token's last.
    slot, known : ``Out(4)``, ``Out(1)``
        Those of ``expert``, in the same cycle.

    Timing
    ------
    One winner a cycle. Between the last one of a token and the first of the next passes a cycle.
    """

    record = Record(moves="finds the place of a token's experts")

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "start": In(1), "base": In(range(hw.remembered_tokens)), "remembers": In(1),
            "fresh": In(1), "top_k": In(4),
            "winners": In(8).array(hw.max_top_k),
            "valid": In(1), "last": In(1), "expert": In(8), "slot": Out(4), "known": Out(1),
        })

    @staticmethod
    def rams(hw: HwConfig) -> tuple[Ram, ...]:
        """Its memory, if frames are compared at all."""
        bits = max(1, (hw.max_experts - 1).bit_length())
        return (Ram(bits * hw.max_top_k, hw.remembered_tokens),) if hw.temporal else ()

    def elaborate(self, platform):
        m = Module()
        hw, bits = self.hw, max(1, (self.hw.max_experts - 1).bit_length())
        count, word = hw.max_top_k, data.ArrayLayout(bits, hw.max_top_k)
        m.submodules.entries = entries = Memory(
            shape=word, depth=hw.remembered_tokens, init=[], attrs={"ram_style": "block"})
        write, read = entries.write_port(), entries.read_port()
        token, given, taken = Signal(range(hw.max_tokens)), Signal(word), Signal(count)
        same, stays, free = Signal(count), Signal(count), Signal(count)
        address = Signal.like(self.base)

        m.d.comb += [
            address.eq(self.base + token), read.addr.eq(address), write.addr.eq(address),
            write.en.eq(self.valid & self.last & self.remembers), self.known.eq(same.any()),
        ]
        for n in range(count):
            old = Signal(name=f"old_{n}")
            m.d.comb += [
                old.eq(self.remembers & ~self.fresh & (n < self.top_k)),
                same[n].eq(old & (read.data[n] == self.expert[:bits])),
                stays[n].eq(old & Cat(
                    (read.data[n] == winner[:bits]) & (rank < self.top_k)
                    for rank, winner in enumerate(self.winners)).any()),
            ]
        m.d.comb += free.eq(~(stays | taken))
        for n in reversed(range(count)):
            with m.If(Mux(self.known, same[n], free[n])):
                m.d.comb += self.slot.eq(n)
        for n in range(count):
            m.d.comb += write.data[n].eq(Mux(self.slot == n, self.expert, Mux(
                taken[n], given[n], read.data[n])))
        with m.If(self.valid):
            m.d.sync += [given[self.slot].eq(self.expert),
                         taken.eq(Mux(self.last, 0, taken | (~self.known << self.slot)[:count])),
                         token.eq(token + self.last)]
        with m.If(self.start):
            m.d.sync += token.eq(0)

        return m
