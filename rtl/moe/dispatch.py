"""Routes to expert queues: which tokens each expert gets, with which weight.

::

    route ──► queue[expert][length] = (token, weight) ──► read by position
"""

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import ROUTE


class Dispatch(wiring.Component):
    """One queue for each expert, in the order of the tokens.

    A queue holds ``max_tokens`` entries, so every routing fits: all tokens to one expert, an
    expert without any. :func:`golden.moe.routed_tokens` is its reference.

    Members
    -------
    i : ``In(stream.Signature(ROUTE))``
        Routes of token 0, 1, …; ``last`` ends a token. Always taken.
    clear : ``In(1)``
        Empty all queues and start again with token 0.
    expert, index : ``In``
        Entry to read.
    token, weight : ``Out(16)``
        That entry, one cycle later.
    length : ``Out(16)``
        Entries of ``expert``, in the same cycle.
    inspected, occupied : ``In(8)``, ``Out(1)``
        Whether another expert has entries, in the same cycle.
    tokens : ``Out(16)``
        Tokens routed since ``clear``.
    """

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(ROUTE)), "clear": In(1),
            "expert": In(8), "index": In(16), "token": Out(16), "weight": Out(16),
            "length": Out(16), "inspected": In(8), "occupied": Out(1), "tokens": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        bits = (hw.max_tokens - 1).bit_length()
        entry = data.StructLayout({"token": 16, "weight": 16})
        m.submodules.entries = entries = Memory(
            shape=entry, depth=hw.max_experts * hw.max_tokens, init=[],
            attrs={"ram_style": "block"}
        )
        write, read = entries.write_port(), entries.read_port()
        lengths = Array(Signal(bits + 1, name=f"length_{n}") for n in range(hw.max_experts))
        taken = lengths[self.i.p.expert]

        m.d.comb += [
            self.i.ready.eq(1), write.en.eq(self.i.valid),
            write.addr.eq(Cat(taken[:bits], self.i.p.expert)),
            write.data.token.eq(self.tokens), write.data.weight.eq(self.i.p.weight),
            read.addr.eq(Cat(self.index[:bits], self.expert)),
            self.token.eq(read.data.token), self.weight.eq(read.data.weight),
            self.length.eq(lengths[self.expert]),
            self.occupied.eq(lengths[self.inspected] != 0),
        ]
        with m.If(self.clear):
            m.d.sync += [self.tokens.eq(0), *(length.eq(0) for length in lengths)]
        with m.Elif(self.i.valid):
            m.d.sync += [taken.eq(taken + 1), self.tokens.eq(self.tokens + self.i.p.last)]

        return m
