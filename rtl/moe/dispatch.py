"""Routes to expert queues: which tokens each expert gets, with which weight.

With ``hw.temporal`` each expert has a second queue, ``max_experts`` further on, for the tokens that
did not change: nothing is computed for them, but what they added is added again.

::

    route ──► queue[expert][length] = (token, weight, place) ──► read by position
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import route
from deltamoe.rtl.record import Area, Ram, Record


def queued(hw: HwConfig) -> data.StructLayout:
    """Return what a queue holds of a token."""
    return data.StructLayout({"token": (hw.max_tokens - 1).bit_length(), "weight": 16, **({
        "place": range(hw.max_tokens * hw.max_top_k), "known": 1} if hw.temporal else {})})


class Dispatch(wiring.Component):
    """One queue for each expert, in the order of the tokens.

    A queue holds ``max_tokens`` entries, so every routing fits: all tokens to one expert, an
    expert without any. :func:`deltamoe.golden.arithmetic.moe.routed_tokens` is its reference.

    Members
    -------
    i : ``In(stream.Signature(route(hw)))``
        Routes of token 0, 1, …; ``last`` ends a token. Always taken.
    clear : ``In(1)``
        Empty all queues and start again with token 0.
    expert, index : ``In``
        Entry to read.
    token, weight, place, known : ``Out``
        That entry, one cycle later; ``place`` is the token's slot behind all of the tokens before.
    gated : ``In(1)``
        Routes of tokens that did not change go to the second queues.
    probed : ``In``
        ``en``, ``row``, ``changed``: a token has changed or not; with ``routes`` it goes to the
        first or second queue of expert 0 as well.
    length : ``Out(range(hw.max_tokens + 1))``
        Entries of ``expert``, in the same cycle.
    inspected, occupied : ``In(8)``, ``Out(1)``
        Whether another expert has entries, in the same cycle.
    tokens : ``Out(range(hw.max_tokens + 1))``
        Tokens routed since ``clear``.
    """

    record = Record(twin="arithmetic.moe", area=Area(
        block=lambda hw: (Ram(queued(hw), hw.queues * hw.max_tokens),),
        distributed=lambda hw: (Ram(1, hw.max_tokens),) if hw.temporal else (),
        grows=lambda hw: (hw.queues * hw.max_tokens.bit_length(),)))

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(route(hw))), "clear": In(1),
            "expert": In(8), "index": In(range(hw.max_tokens)), "token": Out(range(hw.max_tokens)),
            "weight": Out(16), "place": Out(range(hw.max_tokens * hw.max_top_k)),
            "known": Out(1), "length": Out(range(hw.max_tokens + 1)), "inspected": In(8),
            "occupied": Out(1),
            "tokens": Out(range(hw.max_tokens + 1)),
            **({"gated": In(1), "probed": In(data.StructLayout({
                "en": 1, "row": range(hw.max_tokens), "changed": 1, "routes": 1}))}
               if hw.temporal else {}),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        bits = (hw.max_tokens - 1).bit_length()
        m.submodules.entries = entries = Memory(
            shape=queued(hw), depth=hw.queues * hw.max_tokens, init=[],
            attrs={"ram_style": "block"}
        )
        write, read = entries.write_port(), entries.read_port()
        lengths = Array(Signal(bits + 1, name=f"length_{n}") for n in range(hw.queues))
        queue, routed = Signal(8), Signal()
        taken = lengths[queue]

        m.d.comb += [
            self.i.ready.eq(1), write.en.eq(routed), queue.eq(self.i.p.expert),
            routed.eq(self.i.valid), write.addr.eq(Cat(taken[:bits], queue)),
            write.data.token.eq(self.tokens), write.data.weight.eq(self.i.p.weight),
            read.addr.eq(Cat(self.index[:bits], self.expert)),
            self.token.eq(read.data.token), self.weight.eq(read.data.weight),
            self.length.eq(lengths[self.expert]),
            self.occupied.eq(lengths[self.inspected] != 0),
        ]
        with m.If(self.clear):
            m.d.sync += [self.tokens.eq(0), *(length.eq(0) for length in lengths)]
        with m.Elif(routed):
            m.d.sync += [taken.eq(taken + 1), self.tokens.eq(self.tokens + self.i.p.last)]
        if hw.temporal:
            self.sort(m, queue, routed, write.data, read.data)

        return m

    def sort(self, m: Module, queue, routed, written, entry):
        """Tell tokens that changed from those that did not."""
        hw, first, rank = self.hw, Signal.like(self.place), Signal(4)
        m.submodules.changes = changes = Memory(
            shape=1, depth=hw.max_tokens, init=[], attrs={"ram_style": "distributed"})
        write, read = changes.write_port(), changes.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.probed.en), write.addr.eq(self.probed.row),
            write.data.eq(self.probed.changed), read.addr.eq(self.tokens),
            queue.eq(self.i.p.expert + Mux(self.gated & ~read.data, hw.max_experts, 0)),
            written.place.eq(first + self.i.p.slot), written.known.eq(self.i.p.known),
            self.place.eq(entry.place), self.known.eq(entry.known),
        ]
        with m.If(self.probed.en & self.probed.routes):
            m.d.comb += [routed.eq(1), written.token.eq(self.probed.row),
                         written.place.eq(self.probed.row),
                         queue.eq(Mux(self.probed.changed, 0, hw.max_experts))]
        with m.If(self.i.valid):
            m.d.sync += rank.eq(Mux(self.i.p.last, 0, rank + 1))
            with m.If(self.i.p.last):
                m.d.sync += first.eq(first + rank + 1)
        with m.Elif(routed):
            m.d.sync += self.tokens.eq(self.tokens)
        with m.If(self.clear):
            m.d.sync += first.eq(0)
