"""The one compute unit: every matrix product of the network runs here.

Neighboring lane groups work on an item together: a gang holds its columns side by side, further
gangs hold further parts of the sum, which are added on the way out::

    events ──┬──► worker ──► lane group ──┐
             ├──► worker ──► lane group ──┼──► + ──► word of accumulators ──► drain
             └──► worker ──► lane group ──┘
"""

from amaranth import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import broadcast, kv_write, place, weight_write
from deltamoe.rtl.linear.lane_group import LaneGroup
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.record import Area, Record


def added(hw: HwConfig) -> int:
    """Return the flip-flops between the adders of the compute unit.

    Groups are added in pairs, a level a stage; a chain of two or more single words is a shift
    register in LUTs.
    """
    levels = [hw.groups]
    while len(levels) < ComputeUnit.READ_LATENCY:
        levels.append(-(-levels[-1] // 2))
    single = levels.count(1)
    return (sum(levels) - (single if single > 1 else 0)) * hw.word * hw.acc_width


class ComputeUnit(cycles.ComputeUnit, wiring.Component):
    """Lane groups with their workers, the parts of a sum, and the selection of results.

    Part ``p`` of ``2**split`` takes elements ``p * n`` to ``(p + 1) * n - 1`` of every word of
    ``word`` operands, ``n = word / 2**split``, and keeps their weights in ``n`` rows a word. Of
    ``r = read_words`` words that come together it takes, for ``p = q * r + b``, elements ``q * n``
    to ``(q + 1) * n - 1`` of the ``b``-th, ``n = r * word / 2**split``; so a group needs only one
    of them, always the same.

    Members
    -------
    i : ``In(stream.Signature(broadcast(hw)))``
        Events for the groups of a span; always taken.
    accept, accept_span : ``In(hw.groups)``, ``In(4)``
        One-hot: an item has been assigned to this leader and its span.
    waiting : ``Out(2).array(hw.groups)``
        Items of each group that are not yet summed.
    select : ``In(place(hw))``
        Oldest item: where its sums are.
    word : ``In(range(hw.item_words))``
        Word of its columns to read.
    complete, release : ``Out(1)``, ``In(1)``
        All its sums are there; it is drained.
    acc : ``Out``
        The word selected ``READ_LATENCY`` cycles ago.
    weight_write, weight_groups, kv_write, kv_groups : ``In``
        A row of weights, half a row of keys or values, for the groups of a mask.
    popped, blocked : ``Out(hw.groups)``
        Groups that take an event, and that wait for a bank.

    Timing
    ------
    See :class:`Worker`; ``acc`` follows ``select`` and ``word`` by ``READ_LATENCY`` cycles.
    """

    record = Record(twin="arithmetic.linear", area=Area(grows=lambda hw: (hw.groups, added(hw))))

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(broadcast(hw))),
            "accept": In(hw.groups), "accept_span": In(4), "waiting": Out(2).array(hw.groups),
            "select": In(data.StructLayout(place(hw))), "word": In(range(hw.item_words)),
            "complete": Out(1), "release": In(1),
            "acc": Out(data.ArrayLayout(signed(hw.acc_width), hw.word)),
            "weight_write": In(weight_write(hw)),
            "weight_groups": In(hw.groups),
            "kv_write": In(kv_write(hw)),
            "kv_groups": In(hw.groups),
            "popped": Out(hw.groups), "blocked": Out(hw.groups),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        complete, inside = Signal(hw.groups), Signal(hw.groups)
        words = []
        m.d.comb += [self.i.ready.eq(1), self.complete.eq((complete | ~inside).all())]
        for number in range(hw.groups):
            m.submodules[f"worker_{number}"] = worker = Worker(hw)
            m.submodules[f"group_{number}"] = group = LaneGroup(hw)
            self.distribute(m, number, worker)
            drained = self.within(m, number, self.select.span, self.select.leader, "drained")
            accepted = Signal(name=f"accepted_{number}")
            with m.Switch(self.accept_span):
                for index, span in enumerate(hw.gangs):
                    with m.Case(index):
                        m.d.comb += accepted.eq(self.accept[number - number % span])
            m.d.comb += [
                worker.accept.eq(accepted), worker.release.eq(self.release & drained),
                self.waiting[number].eq(worker.waiting), complete[number].eq(worker.complete),
                inside[number].eq(drained),
                self.popped[number].eq(worker.valid), self.blocked[number].eq(worker.blocked),
                group.event.eq(worker.event), group.valid.eq(worker.valid),
                group.weight_write.eq(self.weight_write),
                group.weight_write.en.eq(self.weight_write.en & self.weight_groups[number]),
                group.kv_write.eq(self.kv_write),
                group.kv_write.en.eq(self.kv_write.en & self.kv_groups[number].replicate(2)),
                group.bank.eq(worker.bank), group.half.eq(self.word[0]),
            ]
            words.append((self.selected(m, number, drained), group.complement))
        self.add(m, words)

        return m

    def within(self, m: Module, number: int, span, leader, name: str):
        """Return whether group ``number`` is of the span that ``leader`` leads."""
        result = Signal(name=f"{name}_{number}")
        with m.Switch(span):
            for index, size in enumerate(self.hw.gangs):
                with m.Case(index):
                    m.d.comb += result.eq(leader == number - number % size)
        return result

    def distribute(self, m: Module, number: int, worker: Worker):
        """Give a worker its part of the events."""
        hw, given = self.hw, self.i.p
        addressed = self.within(m, number, given.span, given.leader, "addressed")
        gang_number, part = Signal(range(hw.groups), name=f"gang_{number}"), Signal(
            range(hw.word), name=f"part_{number}")
        mask, offset = Signal(hw.word, name=f"mask_{number}"), Signal(
            range(hw.word), name=f"offset_{number}")
        with m.Switch(given.gang):
            for index, gang in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += gang_number.eq(number // gang)
        with m.Switch(Cat(given.split, given.wide) if hw.read_words > 1 else given.split):
            for split, wide in self.cuts():
                size = hw.word << wide >> split
                with m.Case(split | (1 << len(given.split) if wide else 0)):
                    m.d.comb += [part.eq(gang_number[:split] >> wide), offset.eq(part * size),
                                 mask.eq(((1 << size) - 1) << offset)]
        bus = number // hw.read_gang % hw.read_words if hw.read_words > 1 else 0
        sent = given.beside[bus - 1] if bus else given.word
        m.d.comb += [
            worker.i.payload.eq(given.word), worker.i.p.delta.eq(sent.delta),
            worker.i.p.mask.eq(sent.mask & mask), worker.i.p.row.eq(given.word.row - offset),
            worker.i.p.empty.eq(~worker.i.p.mask.any()),
            worker.i.valid.eq(self.i.valid & addressed & (~worker.i.p.empty | given.word.last)),
        ]

    def cuts(self) -> list[tuple[int, int]]:
        """Every ``split``, with the binary logarithm of the words that come together."""
        wide = self.hw.read_words.bit_length() - 1
        return [(split, 0) for split in self.hw.splits] + [
            (split, wide) for split in self.hw.splits if 0 < wide <= split]

    def selected(self, m: Module, number: int, drained):
        """Return whether a group holds a part of the selected word."""
        result, tile = Signal(name=f"selected_{number}"), self.word[1 : 1 + len(self.select.leader)]
        with m.Switch(self.select.gang):
            for index, gang in enumerate(self.hw.gangs):
                with m.Case(index):
                    m.d.comb += result.eq(drained & (tile == number % gang))
        return result

    def add(self, m: Module, words):
        """Add the selected words, one level of pairs a stage.

        What is not selected is reset in the first registers and not masked, and no two adders
        follow each other without a register, since synthesis would join them: so 24 groups take
        23 adders of one LUT a bit. All words are complements: with ``A = ~a`` and ``B = ~b`` that
        of the sum is ``~(a + b) = A - ~B``.
        """
        shape = data.ArrayLayout(signed(self.hw.acc_width), self.hw.word)
        level = []
        for number, (chosen, complement) in enumerate(words):
            word = Signal(shape, name=f"word_{number}", reset_less=True)
            m.d.sync += word.eq(complement)
            with m.If(~chosen):
                m.d.sync += word.eq(-1)
            level.append(word)
        for stage in range(1, self.READ_LATENCY):
            pairs = [level[n : n + 2] for n in range(0, len(level), 2)]
            level = [Signal(shape, name=f"sum_{stage}_{n}", reset_less=True)
                     for n in range(len(pairs))]
            for made, (left, *right) in zip(level, pairs, strict=True):
                m.d.sync += [made[n].eq(left[n] - ~right[0][n] if right else left[n])
                             for n in range(self.hw.word)]
        assert len(level) == 1
        m.d.comb += self.acc.eq(~level[0].as_value())
