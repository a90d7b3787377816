"""Tokens' gate logits to their experts and their weights.

Three tokens are under way at once::

    i ──► logits (4) ──┬──►│──► top k ──┐
                       └────────────────┴──► scale, 2^−x, sum ──► divide (k) ──► o
"""

from typing import NamedTuple

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.golden.numerics import PLANE, ROUTE_FRACTION
from deltamoe.rtl import cycles
from deltamoe.rtl.arith.divider import Divider
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import GATE_LANES
from deltamoe.rtl.formats import beat, route
from deltamoe.rtl.moe.gate_exponential import GateExponential
from deltamoe.rtl.moe.top_k import TopK
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe
from deltamoe.rtl.temporal.places import Places, SlotMemory


class GateSettings(wiring.Signature):
    """What is the same for all tokens of an operator.

    Members
    -------
    num_experts, top_k : ``Out(8)``, ``Out(4)``
        Experts, and how many of them a token takes.
    multiplier, shift : ``Out(16)``, ``Out(2)``
        Scale of the logits.
    """

    def __init__(self) -> None:
        super().__init__({"num_experts": Out(8), "top_k": Out(4), "multiplier": Out(16),
                          "shift": Out(2)})


class End(NamedTuple):
    """Where the last logit of a token is.

    Attributes
    ----------
    step, lane : Signal
        Cycle, and lane of ``GATE_LANES``.
    """

    step: Signal
    lane: Signal


class Gate(cycles.Gate, wiring.Component):
    """Softmax over all experts, then the ``top_k`` largest, not renormalized.

    Columns ``2e`` and ``2e + 1`` are the high and low planes of expert ``e``'s 16-bit weights:
    ``logit = 256 * high + low``. Ranking uses the raw logits, ties go to the lower index.
    ``t = sat16(rhu(logit * multiplier, SHIFTS[shift]))`` in 1/256 octaves,
    ``E = round(2**15 * 2**(-(max - t) / 256))``, ``l = sum E`` over all experts, and
    ``weight = min(65535, floor(E * 2**16 / l + 1/2))``.
    :func:`deltamoe.golden.arithmetic.gate.gate` is its reference.

    Members
    -------
    i : ``In(stream.Signature(beat(signed(hw.acc_width), hw.word)))``
        Planes; ``last`` ends a token. Refused while ``TOKENS`` tokens are held.
    freed : ``Out(1)``
        A token's last logit has been read.
    o : ``Out(stream.Signature(route(hw)))``
        ``top_k`` routes a token in descending order; ``last`` ends the token.
    settings : ``In(GateSettings())``
        Stable while tokens are in flight.
    memory : ``In(SlotMemory(hw))``
        What tokens' slots are remembered by, if they are.

    Timing
    ------
    With ``n = steps(num_experts)``: ranking takes ``n`` cycles, ``FETCHED`` after the token's last
    word or behind the token before; then, one token every ``1 + max(n, top_k)`` cycles, the last of
    ``k`` routes follows ``n + LATENCY + k`` cycles later. From then on at most ``ROUTED`` tokens
    are under way.
    """

    record = Record(twin="arithmetic.gate", area=Area(
        multipliers=lambda hw: 4,
        block=Places.rams,
        distributed=lambda hw: (
            Ram((hw.acc_width + PLANE) * (hw.word // 2), Gate.TOKENS * Gate.rows(hw), 2),
            Ram(route(hw), Gate.ROUTED * hw.max_top_k)),
        grows=lambda hw: (hw.word, hw.max_experts, hw.max_top_k)))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.width, self.per_word = hw.acc_width + PLANE, hw.word // 2
        self.bits = (self.rows(hw) - 1).bit_length()
        super().__init__({
            "i": In(stream.Signature(beat(signed(hw.acc_width), hw.word))), "freed": Out(1),
            "o": Out(stream.Signature(route(hw))),
            "settings": In(GateSettings()),
            "memory": In(SlotMemory(hw)),
        })

    @staticmethod
    def rows(hw: HwConfig) -> int:
        """Rows that the logits of a token take, a power of two."""
        return 1 << (-(-hw.max_experts // (hw.word // 2)) - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.submodules.ranking = ranking = TopK(hw.max_top_k, self.width, GATE_LANES)
        m.submodules.logits = logits = Memory(
            shape=data.ArrayLayout(signed(self.width), self.per_word),
            depth=self.TOKENS * self.rows(hw), init=[], attrs={"ram_style": "distributed"})
        end = End(Signal(8, name="last_step"), Signal(range(GATE_LANES), name="last_lane"))
        m.d.sync += Cat(end.lane, end.step).eq(self.settings.num_experts - 1)
        full = Array(Signal(name=f"full_{n}") for n in range(self.TOKENS))

        self.collect(m, logits.write_port(), full)
        ranked, sends = self.rank(m, logits.read_port(domain="comb"), full, ranking, end)
        self.exponentiate(m, logits.read_port(domain="comb"), full, ranking, end, ranked, sends)

        return m

    def collect(self, m: Module, write, full):
        """Join the planes of a token's logits."""
        given, bank, word = self.i.p, Signal(range(self.TOKENS)), Signal(8)
        m.d.comb += [self.i.ready.eq(~full[bank]), write.en.eq(self.i.valid & self.i.ready),
                     write.addr.eq(Cat(word[: self.bits], bank))]
        for n in range(self.per_word):
            m.d.comb += write.data[n].eq((given.data[2 * n] << PLANE) + given.data[2 * n + 1])
        with m.If(write.en):
            m.d.sync += word.eq(word + 1)
            with m.If(given.last):
                m.d.sync += [word.eq(0), bank.eq(bank + 1), full[bank].eq(1)]

    def fetch(self, m: Module, read, bank, step, last, end: End):
        """Return the logits of ``step``, the ``last`` or not, and whether each is one."""
        index = step * GATE_LANES
        m.d.comb += read.addr.eq(Cat((index // self.per_word)[: self.bits], bank))
        lanes = Array(read.data[n] for n in range(self.per_word))
        valid = [~last | (n <= end.lane) if n else Const(1) for n in range(GATE_LANES)]
        return [(lanes[(index | n) % self.per_word], valid[n], index | n)
                for n in range(GATE_LANES)]

    def rank(self, m: Module, read, full, ranking: TopK, end: End):
        """Rank a token's logits; return when that is done, and when the next unit takes it over.

        The first ones of the next token are fetched meanwhile.
        """
        bank, step, ranked, sends = Signal(range(self.TOKENS)), Signal(8), Signal(), Signal()
        held, final, ends, enable = Signal(), Signal(), Signal(), Signal(GATE_LANES)
        m.d.comb += ranking.clear.eq(sends)
        m.d.sync += final.eq(step == end.step)
        m.d.comb += [ranking.enable[n].eq(held & enable[n] & ~ranked) for n in range(GATE_LANES)]
        fetched = self.fetch(m, read, bank, step, final, end)
        with m.If(sends):
            m.d.sync += ranked.eq(0)
        with m.Elif(held & ~ranked):
            m.d.sync += [held.eq(0), ranked.eq(ends)]
        with m.If(full[bank] & ~(held & ranked)):
            m.d.sync += [held.eq(1), ends.eq(final), step.eq(Mux(final, 0, step + 1)),
                         bank.eq(bank + final),
                         final.eq(Mux(final, end.step == 0, step + 1 == end.step))]
            for n, (logit, valid, index) in enumerate(fetched):
                m.d.sync += [ranking.value[n].eq(logit), ranking.index[n].eq(index),
                             enable[n].eq(valid)]
        return ranked, sends

    def exponentiate(self, m: Module, read, full, ranking: TopK, end: End, ranked, sends):
        """Send the largest logit, then all of them; hand on their sum and the winners."""
        bank, step, left = Signal(range(self.TOKENS)), Signal(8), Signal(8)
        routed = Signal(self.ROUTED)  # as many of the lower bits are set
        indices = [Signal(8, name=f"winner_{n}") for n in range(self.hw.max_top_k)]
        lanes = [GateExponential(self.width) for _ in range(GATE_LANES)]
        reading, last, busy, single = Signal(), Signal(), Signal(), Signal()
        longest, top_k = Signal(8), self.settings.top_k
        m.d.sync += [longest.eq(Mux(top_k > end.step, top_k, end.step + 1)),
                     single.eq(end.step == 0)]
        m.d.comb += [
            sends.eq(ranked & ~busy & ~routed[-1]),
            self.freed.eq(reading & last),
        ]
        leaves = self.o.valid & self.o.ready & self.o.p.last
        with m.If(sends & ~leaves):
            m.d.sync += routed.eq(Cat(1, routed))
        with m.Elif(~sends & leaves):
            m.d.sync += routed.eq(routed >> 1)
        with m.If(sends):
            m.d.sync += [left.eq(longest), busy.eq(1), reading.eq(1), step.eq(0),
                         last.eq(single)]
            m.d.sync += [kept.eq(index) for kept, index in
                         zip(indices, ranking.indices, strict=True)]
        with m.Elif(busy):
            m.d.sync += [left.eq(left - 1), busy.eq(left != 1), step.eq(step + 1),
                         last.eq(step + 1 == end.step)]
            with m.If(last & reading):
                m.d.sync += [reading.eq(0), bank.eq(bank + 1), full[bank].eq(0)]
        beside = Signal(self.beside())
        m.d.comb += beside.last.eq(reading & last)
        m.d.comb += [beside.experts[n].eq(index) for n, index in enumerate(indices)]
        for n, (logit, valid, index) in enumerate(
                self.fetch(m, read, bank, step, last, end)):
            m.submodules[f"exponential_{n}"] = lane = lanes[n]
            m.d.comb += [
                lane.multiplier.eq(self.settings.multiplier), lane.shift.eq(self.settings.shift),
                lane.leads.eq(sends), lane.valid.eq(sends | (reading & valid)),
                lane.logit.eq(Mux(sends, ranking.largest, logit)),
            ]
            m.d.comb += [beside.wins[n][rank].eq(index == winner)
                         for rank, winner in enumerate(indices)]
        for _ in range(GateExponential.LATENCY):
            later = Signal(self.beside())
            m.d.sync += later.eq(beside)
            beside = later
        self.sum(m, lanes, beside)

    def beside(self) -> data.StructLayout:
        """What travels beside the logits of a cycle: last of the token, whose are the winners."""
        top_k = self.hw.max_top_k
        return data.StructLayout({"last": 1, "experts": data.ArrayLayout(8, top_k),
                                  "wins": data.ArrayLayout(top_k, GATE_LANES)})

    def sum(self, m: Module, lanes, beside):
        """Sum the powers and keep the winners'."""
        powers = [Signal(15, name=f"power_{n}") for n in range(self.hw.max_top_k)]
        experts = Signal(data.ArrayLayout(8, self.hw.max_top_k))
        total, divided, ready = Signal(23), Signal(23), Signal()
        summed = total + sum(Mux(lane.done, lane.power, 0) for lane in lanes)
        m.d.sync += [total.eq(Mux(beside.last, 0, summed)), ready.eq(beside.last)]
        for n, lane in enumerate(lanes):
            for rank, power in enumerate(powers):
                with m.If(lane.done & beside.wins[n][rank]):
                    m.d.sync += power.eq(lane.power)
        with m.If(beside.last):
            m.d.sync += [divided.eq(summed), experts.eq(beside.experts)]
        self.divide(m, ready, powers, experts, divided)

    def divide(self, m: Module, ready, powers, experts, total):
        """Divide the ``top_k`` powers, one a cycle from the cycle of ``ready`` on."""
        m.submodules.routes = routes = Fifo(route(self.hw), self.ROUTED * self.hw.max_top_k)
        members = {name: shape for name, shape in route(self.hw).members.items()
                   if name in {"expert", "last"}}
        m.submodules.divider = divider = Divider(data.StructLayout(members))
        entry = data.StructLayout({"power": 15, "expert": 8})
        count = self.hw.max_top_k
        held, source = ([Signal(entry, name=f"{name}_{n}") for n in range(count)]
                        for name in ("held", "source"))
        left, now = Signal(4), Signal(4)
        m.d.comb += now.eq(Mux(ready, self.settings.top_k, left))
        m.d.sync += left.eq(Mux(now == 0, 0, now - 1))
        for n in range(count):
            m.d.comb += [source[n].power.eq(Mux(ready, powers[n], held[n].power)),
                         source[n].expert.eq(Mux(ready, experts[n], held[n].expert))]
        m.d.sync += [held[n].eq(source[n + 1]) for n in range(count - 1)]
        m.d.comb += [
            divider.i.valid.eq(now != 0), divider.i.p.numerator.eq(
                (source[0].power << (ROUTE_FRACTION + 1)) + total),
            divider.i.p.denominator.eq(total << 1), divider.i.p.tag.expert.eq(source[0].expert),
            divider.i.p.tag.last.eq(now == 1),
            routes.i.valid.eq(divider.o.valid), divider.o.ready.eq(1),
            *(routes.i.p[name].eq(divider.o.p.tag[name]) for name in members),
            routes.i.p.weight.eq(divider.o.p.value),
        ]
        if self.hw.remembered_tokens:
            self.remember(m, experts, divider.i, routes.i.p)
        pipe(m, routes.o, flipped(self.o))

    def remember(self, m: Module, winners, given, made):
        """Find the slots of a token's experts while their powers are divided."""
        m.submodules.slots = slots = Places(self.hw)
        tag = given.p.tag
        token = slots.token
        wiring.connect(m, flipped(self.memory), slots.memory)
        m.d.comb += [
            token.valid.eq(given.valid), token.last.eq(tag.last), token.expert.eq(tag.expert),
            *(token.winners[n].eq(winners[n]) for n in range(self.hw.max_top_k)),
        ]
        found = Cat(token.slot, token.known)
        for _ in range(Divider.LATENCY - Places.LATENCY):
            later = Signal(found.shape())
            m.d.sync += later.eq(found)
            found = later
        m.d.comb += Cat(made.slot, made.known).eq(found)
