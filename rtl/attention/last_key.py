"""Scores of the one key that is left over when tiles hold all others.

The queries come by on their way to the lane groups; the key is kept as the keys come by::

    keys ──► words of the newest ────►│──┐
    i ───────────────────────────────►│──┴─► × ──►│──► sums of four ──►│──► … ──► + ──► queue ──► o
"""

from itertools import pairwise

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.arith.trees import total
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import adding
from deltamoe.rtl.formats import beat
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe


class LastKey(cycles.LastKey, wiring.Component):
    """Compute ``score = sum_d query[d] * key[d]`` for each token and head, with the last key.

    129 tokens are two tiles of 64 keys and one key, for which a third tile takes as long as each of
    the others, in the scores alone: to the values it is one more event of 129. With that tile a
    frame of m3vit-tiny-129 takes 545,133 cycles on ``zcu102``, 93.5 % of 1536 products a cycle.
    Here ``word`` multipliers on the bus of the operands make the last key's scores in no cycles of
    their own: 532,803 cycles, 95.6 % of 1536, and 93.7 % of 1568 with these 32. In the lane groups
    nothing else helps: a group multiplies all of its lanes by one element of one query, so the last
    keys of all heads side by side are as many events as one after the other. Queries as the columns
    of a product with the last key are few events, but need a place among the keys for all queries,
    and a memory for the scores, which come out by column. A quarter of the multipliers would do for
    a row every eight cycles, but fall behind where queries come faster, 31 rows ahead of the first
    values; the drain would have to wait for them.

    Members
    -------
    keys : ``In(stream.Signature(beat(signed(8), hw.word), always_ready=True))``
        Words of a token's keys, of all heads, which replace those of the token before; ``last``
        ends a token.
    i : ``In(stream.Signature(beat(signed(8), hw.word), always_ready=True))``
        Words of queries, of one head after the other; ``last`` ends a head.
    o : ``Out(stream.Signature(signed(hw.acc_width)))``
        Scores; at most ``attention_lag + 1`` may wait, which are all the rows of scores that are
        not yet probabilities.

    Timing
    ------
    A word a cycle; a score is on ``o`` ``latency(hw)`` cycles after the last word of its query. No
    query comes while a key is kept: keys are drained behind all scores of the operator before, and
    an operator begins when the keys that it needs are there.
    """

    record = Record(twin="arithmetic.linear", area=Area(
        instances=lambda hw: int(hw.last_key), multipliers=lambda hw: hw.word,
        distributed=lambda hw: (Ram(8 * hw.word, hw.embed_words),
                                Ram(hw.acc_width, hw.attention_lag + 1)),
        grows=lambda hw: (hw.word,)))

    keys: stream.Interface
    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "keys": In(stream.Signature(beat(signed(8), hw.word), always_ready=True)),
            "i": In(stream.Signature(beat(signed(8), hw.word), always_ready=True)),
            "o": Out(stream.Signature(signed(hw.acc_width))),
        })

    def elaborate(self, platform):
        m, hw = Module(), self.hw
        m.submodules.scores = scores = Fifo(signed(hw.acc_width), hw.attention_lag + 1)
        stages = 2 + adding(hw.word)
        valid, last = ([Signal(name=f"{name}_{n}") for n in range(stages)]
                       for name in ("valid", "last"))
        products = [Signal(signed(16), name=f"product_{n}", reset_less=True)
                    for n in range(hw.word)]
        before, score = Signal(signed(hw.acc_width)), Signal(signed(hw.acc_width))

        key, query = self.key(m), Signal.like(self.i.p.data)
        m.d.sync += [
            query.eq(self.i.p.data), valid[0].eq(self.i.valid), last[0].eq(self.i.p.last),
            *(product.eq(query[n] * key[n]) for n, product in enumerate(products)),
            *(later.eq(earlier) for line in (valid, last) for earlier, later in pairwise(line)),
        ]
        m.d.comb += [
            score.eq(before + total(m, products, "sum")),
            scores.i.payload.eq(score), scores.i.valid.eq(valid[-1] & last[-1]),
        ]
        with m.If(valid[-1]):
            m.d.sync += before.eq(Mux(last[-1], 0, score))
        pipe(m, scores.o, wiring.flipped(self.o))

        return m

    def key(self, m: Module):
        """Keep the last key; return its word of the query that came in the cycle before."""
        hw = self.hw
        m.submodules.words = words = Memory(shape=self.keys.p.data.shape(), depth=hw.embed_words,
                                            init=[], attrs={"ram_style": "distributed"})
        write, read = words.write_port(), words.read_port(domain="comb")
        final, word = Signal.like(read.addr), Signal.like(read.data)
        m.d.comb += [write.en.eq(self.keys.valid), write.data.eq(self.keys.p.data)]
        with m.If(write.en):
            m.d.sync += write.addr.eq(Mux(self.keys.p.last, 0, write.addr + 1))
            with m.If(self.keys.p.last):
                m.d.sync += final.eq(write.addr)
        m.d.sync += word.eq(read.data)
        with m.If(self.i.valid):
            m.d.sync += read.addr.eq(Mux(read.addr == final, 0, read.addr + 1))
        return word
