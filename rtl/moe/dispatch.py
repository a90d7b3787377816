"""Routes to expert queues: which tokens each expert gets, with which weight.

Where frames are compared, each expert has a second queue, ``max_experts`` further on, for the
tokens that did not change: nothing is computed for them, but what they added is added again.

::

    route ──► queue[expert][length] = (token, weight, place) ──► read by position
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import probed, queued, route
from deltamoe.rtl.interfaces import Queues, Read, attach
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record


class Dispatch(wiring.Component):
    """One queue for each expert, in the order of the tokens.

    A queue holds ``queue_depth`` entries, so every routing fits: all tokens to one expert, an
    expert without any. :func:`deltamoe.golden.arithmetic.moe.routed_tokens` is its reference.

    Members
    -------
    i : ``In(stream.Signature(route(hw), always_ready=True))``
        Routes of token 0, 1, …; ``last`` ends a token. Between it and the next token's first,
        or ``clear`` and the first, passes a cycle.
    clear : ``In(1)``
        Empty all queues and start again with token 0.
    queues : ``In(Queues(hw))``
        How many entries an expert has.
    read : ``In(Read(hw.queues * hw.queue_depth, queued(hw)))``
        Entries: the position in the lower bits of the address, above it the queue.
    gated : ``In(1)``
        Routes of tokens that did not change go to the second queues.
    probed : ``In(stream.Signature(probed(hw), always_ready=True))``
        Tokens that have changed or not.
    tokens : ``Out(range(hw.max_tokens + 1))``
        Tokens routed since ``clear``.
    """

    record = Record(twin="arithmetic.moe", area=Area(
        block=lambda hw: (Ram(queued(hw), hw.queues * hw.queue_depth),),
        distributed=lambda hw: (Ram(1, hw.compared_tokens),),
        grows=lambda hw: (hw.queues * hw.queue_depth.bit_length(),)), combinational={
        "queues.lengths.data": ("queues.lengths.address",),
        "queues.occupied.data": ("queues.occupied.address",),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(route(hw), always_ready=True)), "clear": In(1),
            "queues": In(Queues(hw)),
            "read": In(Read(hw.queues * hw.queue_depth, queued(hw))),
            "tokens": Out(range(hw.max_tokens + 1)),
            "gated": In(1), "probed": In(stream.Signature(probed(hw), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        bits = (hw.queue_depth - 1).bit_length()
        m.submodules.entries = entries = BlockMemory(queued(hw), hw.queues * hw.queue_depth)
        write = entries.write_port()
        attach(m, self.read, entries.read_port())
        lengths = Array(Signal(bits + 1, name=f"length_{n}") for n in range(hw.queues))
        occupied = Array(Signal(name=f"occupied_{n}") for n in range(hw.queues))
        queue, routed, queues = Signal(8), Signal(), self.queues
        taken = lengths[queue[: (hw.queues - 1).bit_length()]]

        m.d.comb += [
            write.en.eq(routed), queue.eq(self.i.p.expert),
            routed.eq(self.i.valid), write.addr.eq(Cat(taken[:bits], queue)),
            write.data.token.eq(self.tokens), write.data.weight.eq(self.i.p.weight),
            queues.lengths.data.eq(lengths[queues.lengths.address]),
            queues.occupied.data.eq(occupied[queues.occupied.address]),
        ]
        m.d.sync += self.tokens.eq(self.tokens + (self.i.valid & self.i.p.last))
        for n, (length, holds) in enumerate(zip(lengths, occupied, strict=True)):
            with m.If(routed & (queue == n)):
                m.d.sync += [length.eq(length + 1), holds.eq(1)]
        with m.If(self.clear):
            m.d.sync += [register.eq(0) for register in (self.tokens, *lengths, *occupied)]
        if hw.temporal:
            self.sort(m, queue, routed, write.data)

        return m

    def sort(self, m: Module, queue, routed, written):
        """Tell tokens that changed from those that did not."""
        hw, first, rank, moved = self.hw, Signal.like(written.place), Signal(4), Signal()
        token = self.probed.p
        m.submodules.changes = changes = Memory(
            shape=1, depth=hw.queue_depth, init=[], attrs={"ram_style": "distributed"})
        write, read = changes.write_port(), changes.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.probed.valid), write.addr.eq(token.row),
            write.data.eq(token.changed), read.addr.eq(self.tokens),
            queue.eq(Mux(self.gated & ~moved, self.i.p.expert + hw.max_experts, self.i.p.expert)),
            written.place.eq(first + self.i.p.slot), written.known.eq(self.i.p.known),
        ]
        with m.If(self.probed.valid & token.routes):
            m.d.comb += [routed.eq(1), written.token.eq(token.row), written.place.eq(token.row),
                         queue.eq(Mux(token.changed, 0, hw.max_experts))]
        with m.If(self.i.valid):
            m.d.sync += rank.eq(Mux(self.i.p.last, 0, rank + 1))
            with m.If(self.i.p.last):
                m.d.sync += first.eq(first + rank + 1)
        m.d.sync += moved.eq(read.data)
        with m.If(self.clear):
            m.d.sync += first.eq(0)
