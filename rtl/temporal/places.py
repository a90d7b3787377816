"""Where a token's experts keep what they know of it: in a slot each, while it stays with them.

::

    winners ───────────────────────► compare ──► slot, known
    experts of the frame before ──────┘   └──► experts of this frame
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Ram, Record


class SlotMemory(wiring.Signature):
    """Which of the tokens' experts are remembered.

    Members
    -------
    start : ``Out(1)``
        Begin with token 0.
    base, remembers, fresh, top_k : ``Out``
        Entry of token 0; whether entries are kept at all; whether there was no earlier frame;
        experts of a token.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "start": Out(1), "base": Out(range(hw.remembered_tokens)), "remembers": Out(1),
            "fresh": Out(1), "top_k": Out(4),
        })


class TokenSlots(wiring.Signature):
    """Experts of a token, and the slots they are given.

    Members
    -------
    winners : ``Out(8).array(hw.max_top_k)``
        The token's experts, of which the first ``top_k`` count; stable while they are ``expert``.
    valid, last, expert : ``Out(1)``, ``Out(1)``, ``Out(8)``
        One winner after the other, and the token's last.
    slot, known : ``In(4)``, ``In(1)``
        Those of ``expert``, ``Places.LATENCY`` later.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "winners": Out(8).array(hw.max_top_k), "valid": Out(1), "last": Out(1),
            "expert": Out(8), "slot": In(4), "known": In(1),
        })


class Places(wiring.Component):
    """Give each of a token's ``top_k`` experts one of ``top_k`` slots.

    An expert that the token had in the frame before keeps its slot and is ``known``; any other gets
    the first slot that none of these has. Without an earlier frame the slot is the rank.

    Members
    -------
    memory : ``In(SlotMemory(hw))``
        Which entries are kept.
    token : ``In(TokenSlots(hw))``
        One winner after the other.

    Timing
    ------
    One winner a cycle, its slot in the next. Between the last one of a token and the first of the
    next passes a cycle, in which what is remembered of the next goes from the memory into a
    register: the memory is asked for it with the last one. Between ``start`` and the first winner
    pass two cycles.
    """

    record = Record(moves="finds the place of a token's experts")

    LATENCY = 1

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({"memory": In(SlotMemory(hw)), "token": In(TokenSlots(hw))})

    @staticmethod
    def rams(hw: HwConfig) -> tuple[Ram, ...]:
        """Its memory; of no rows if frames are not compared."""
        bits = max(1, (hw.max_experts - 1).bit_length())
        return (Ram(bits * hw.max_top_k, hw.remembered_tokens),)

    def elaborate(self, platform):
        m, memory, token = Module(), self.memory, self.token
        hw, bits = self.hw, max(1, (self.hw.max_experts - 1).bit_length())
        count, word = hw.max_top_k, data.ArrayLayout(bits, hw.max_top_k)
        m.submodules.entries = entries = BlockMemory(word, hw.remembered_tokens)
        write, read = entries.write_port(), entries.read_port()
        number, given, taken = Signal(range(hw.queue_depth)), Signal(word), Signal(count)
        old, same, stays, free, first, chosen = (Signal(count, name=name) for name in (
            "old", "same", "stays", "free", "first", "chosen"))
        following, before, judged = Signal.like(number), Signal(word), Signal.like(number)
        counts = Signal(count)  # which of the winners and of the entries a token has
        valid, last, expert, known = Signal(), Signal(), Signal(bits), Signal()

        m.d.comb += [
            following.eq(number + (token.valid & token.last)),
            read.addr.eq(memory.base + following), write.addr.eq(memory.base + judged),
            write.en.eq(valid & last & memory.remembers), token.known.eq(known),
            token.slot.eq(Cat(Cat(chosen[n] for n in range(count) if n >> bit & 1).any()
                              for bit in range(len(token.slot)))),
        ]
        m.d.sync += [
            before.eq(read.data), number.eq(following), judged.eq(number),
            valid.eq(token.valid), last.eq(token.last), expert.eq(token.expert),
        ]
        equal = Cat(old[n] & (before[n] == token.expert[:bits]) for n in range(count))
        m.d.sync += [same.eq(equal), known.eq(equal.any()), counts.eq(
            Cat(rank < memory.top_k for rank in range(count)))]
        for n in range(count):
            m.d.sync += [
                old[n].eq(memory.remembers & ~memory.fresh & counts[n]),
                stays[n].eq(old[n] & Cat(
                    (before[n] == winner[:bits]) & counts[rank]
                    for rank, winner in enumerate(token.winners)).any()),
            ]
        m.d.comb += free.eq(~(stays | taken))
        for n in range(count):
            m.d.comb += [
                first[n].eq(free[n] & ~free[:n].any()),
                chosen[n].eq(Mux(known, same[n], first[n])),
                write.data[n].eq(Mux(chosen[n], expert, Mux(taken[n], given[n], before[n]))),
            ]
            with m.If(valid & chosen[n]):
                m.d.sync += given[n].eq(expert)
        with m.If(valid):
            m.d.sync += taken.eq(Mux(last, 0, taken | Mux(known, 0, first)))
        with m.If(memory.start):
            m.d.sync += number.eq(0)

        return m
