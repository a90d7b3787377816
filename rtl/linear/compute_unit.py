"""The one compute unit: every matrix product of the network runs here.

Neighboring lane groups work on an item together: a gang holds its columns side by side, further
gangs hold further parts of the sum, which are added on the way out::

    events ──┬──► worker ──► lane group ──┐
             ├──► worker ──► lane group ──┼──► + ──► word of accumulators ──► drain
             └──► worker ──► lane group ──┘
"""

from collections import defaultdict
from itertools import product

from amaranth import Assert, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import broadcast, destination
from deltamoe.rtl.interfaces import Counts, GroupWrite, kv_write, sums_of, weight_write
from deltamoe.rtl.linear.lane_group import LaneGroup
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.pipe import pipe


def added(hw: HwConfig) -> int:
    """Return the flip-flops between the adders of the compute unit.

    Groups are added in pairs, a level a stage; a chain of two or more single words is a shift
    register in LUTs.
    """
    levels = [hw.groups]
    while len(levels) < ComputeUnit.READ_LATENCY - 1:
        levels.append(-(-levels[-1] // 2))
    single = levels.count(1)
    return (sum(levels) - (single if single > 1 else 0)) * hw.word * hw.acc_width


def members(m: Module, hw: HwConfig, where, name: str) -> Signal:
    """Return the groups of a :func:`place`, which are those of its span, one bit each."""
    groups, leads = (Signal(hw.groups, name=f"{name}_{kind}") for kind in ("groups", "leads"))
    m.d.comb += leads.eq(Cat(where.leader == number for number in range(hw.groups)))
    m.d.comb += groups.eq(led(hw, leads, where.span))
    return groups


def led(hw: HwConfig, leads, span) -> Value:
    """Return the groups of a ``span`` of which the bit of the leader is set in ``leads``.

    One multiplexer a group, with ``span`` as it is: a ``Switch`` becomes a chain of comparisons.
    """
    chosen = span[: (len(hw.gangs) - 1).bit_length()]
    return Cat(Cat(leads[number - number % size] for size in hw.gangs).bit_select(chosen, 1)
               for number in range(hw.groups))


class Assignment(wiring.Signature):
    """Items on their way to the lane groups.

    Members
    -------
    accept, span : ``Out(hw.groups)``, ``Out(4)``
        One-hot: an item has been assigned to this leader and its span.
    waiting : ``In(2).array(hw.groups)``
        Items of each group that are not yet summed.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({"accept": Out(hw.groups), "span": Out(4),
                          "waiting": In(2).array(hw.groups)})


class Sums(wiring.Signature):
    """Read port of the oldest item's sums.

    Members
    -------
    groups, gang, word : ``Out(hw.groups)``, ``Out(4)``, ``Out(range(hw.item_words))``
        Groups that have them, none if there is no item; how many of those hold its columns side by
        side; the word of its columns to read.
    next_groups : ``Out(hw.groups)``
        Groups of the item behind it.
    summed : ``In(2)``
        Whether all sums of the oldest item will be there in the next cycle; those of the item
        behind it, if the oldest is released now or there is none.
    release : ``Out(1)``
        The item is drained.
    acc : ``In(sums_of(hw))``
        The word, some cycles later: ``ComputeUnit.READ_LATENCY`` as the compute unit answers.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "groups": Out(hw.groups), "gang": Out(4), "word": Out(range(hw.item_words)),
            "next_groups": Out(hw.groups), "summed": In(2), "release": Out(1),
            "acc": In(sums_of(hw)),
        })


class ComputeUnit(cycles.ComputeUnit, wiring.Component):
    """Lane groups with their workers, the parts of a sum, and the selection of results.

    Part ``p`` of ``2**split`` takes elements ``p * n`` to ``(p + 1) * n - 1`` of every word of
    ``word`` operands, ``n = word / 2**split``, and keeps their weights in ``n`` rows a word. Of
    ``r = read_words`` words that come together it takes, for ``p = q * r + b``, elements ``q * n``
    to ``(q + 1) * n - 1`` of the ``b``-th, ``n = r * word / 2**split``; so a group needs only one
    of them, always the same.

    Members
    -------
    i : ``In(stream.Signature(broadcast(hw), always_ready=True))``
        Events for the groups of a span.
    next_place : ``In(destination(hw))``
        Where the events on ``i`` go in the next cycle.
    queues : ``In(Assignment(hw))``
        Items on their way to the groups.
    sums : ``In(Sums(hw))``
        Oldest item; the word of ``READ_LATENCY`` cycles ago.
    weights, kv : ``In(GroupWrite(hw, …))``
        A row of weights, half a row of keys or values.
    last_keys : ``In(stream.Signature(signed(hw.acc_width)))``
        With ``hw.last_key``: scores of the last key, each the first element of the word behind
        those that the gang of its item has.
    counts : ``Out(Counts(…))``
        Groups that took an event, and that waited for a bank, three cycles before.

    Timing
    ------
    See :class:`Worker`; the word of sums follows its place by ``READ_LATENCY`` cycles, of which
    the first takes the place to the groups. ``sums.summed`` follows ``sums.groups`` in the same
    cycle.
    """

    record = Record(twin="arithmetic.linear", area=Area(grows=lambda hw: (hw.groups, added(hw))),
                    combinational={
        "sums.summed": ("sums.groups", "sums.next_groups"),
    })

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(broadcast(hw), always_ready=True)),
            "next_place": In(destination(hw)),
            "queues": In(Assignment(hw)), "sums": In(Sums(hw)),
            "weights": In(GroupWrite(hw, weight_write(hw))),
            "kv": In(GroupWrite(hw, kv_write(hw))),
            **({"last_keys": In(stream.Signature(signed(hw.acc_width)))} if hw.last_key else {}),
            "counts": Out(Counts(dict.fromkeys(("worker_busy", "worker_blocked"),
                                               range(hw.groups + 1)))),
        })

    def elaborate(self, platform):
        m = Module()
        hw, sums = self.hw, self.sums
        words, workers = [], []
        addressed = Signal(hw.groups)
        m.d.sync += addressed.eq(members(m, hw, self.next_place, "addressed"))
        accepted = led(hw, self.queues.accept, self.queues.span)
        for number in range(hw.groups):
            m.submodules[f"worker_{number}"] = worker = Worker(hw)
            m.submodules[f"group_{number}"] = group = LaneGroup(hw)
            self.distribute(m, number, worker, addressed[number])
            pipe(m, worker.o, group.i)
            m.d.comb += [
                worker.accept.eq(accepted[number]),
                worker.oldest.release.eq(sums.release & sums.groups[number]),
                self.queues.waiting[number].eq(worker.waiting),
            ]
            m.d.sync += group.sums.address.eq(Cat(sums.word[0], worker.oldest.bank))
            for written, port in ((self.weights, group.weights), (self.kv, group.kv)):
                m.d.comb += [port.en.eq(Mux(written.groups[number], written.en, 0)),
                             port.address.eq(written.address), port.data.eq(written.data)]
            words.append((self.selected(m, number), group.sums.data))
            workers.append(worker)
        self.add(m, words)
        now = Cat(worker.oldest.summed[0] for worker in workers)
        then = Cat(Mux(sums.groups[n], worker.oldest.summed[1], worker.oldest.summed[0])
                   for n, worker in enumerate(workers))
        m.d.comb += sums.summed.eq(Cat((now | ~sums.groups).all(),
                                       (then | ~sums.next_groups).all()))
        self.count(m, self.counts.worker_busy, [worker.o.valid for worker in workers])
        self.count(m, self.counts.worker_blocked, [worker.blocked for worker in workers])

        return m

    def count(self, m: Module, total: Signal, bits):
        """Count the bits that are set: of every six, which takes a LUT a bit, then of all."""
        some = [Signal(3, name=f"{total.name}_{n}") for n in range(0, len(bits), 6)]
        m.d.sync += [number.eq(sum(bits[6 * n :][:6])) for n, number in enumerate(some)]
        m.d.sync += total.eq(sum(some))

    def distribute(self, m: Module, number: int, worker: Worker, addressed):
        """Give a worker its part of the events."""
        hw, words = self.hw, self.i.p
        size, where = hw.word >> max(hw.splits), self.next_place
        blocks, offset = Signal(hw.word // size, name=f"blocks_{number}"), Signal(
            range(hw.word), name=f"offset_{number}")
        m.d.sync += [blocks.eq(0), offset.eq(0)]
        with m.Switch(Cat(where.gang, where.split, where.wide if hw.read_words > 1 else ())):
            for (start, end), cuts in self.cuts(number).items():
                with m.Case(*(gang | split << len(where.gang)
                              | wide << len(where.gang) + len(where.split)
                              for gang, split, wide in cuts)):
                    m.d.sync += [blocks.eq(sum(1 << n for n in range(start // size, end // size))),
                                 offset.eq(start)]
        bus = number // hw.read_gang % hw.read_words if hw.read_words > 1 else 0
        sent = words.beside[bus - 1] if bus else words.word
        m.d.comb += [
            worker.i.payload.eq(words.word), worker.i.p.delta.eq(sent.delta),
            worker.i.p.mask.eq(sent.mask & Cat(block.replicate(size) for block in blocks)),
            worker.i.p.row.eq(words.word.row - offset),
            worker.i.p.empty.eq(~Cat(block & sent.mask.word_select(n, size).any()
                                     for n, block in enumerate(blocks)).any()),
            worker.i.valid.eq(self.i.valid & addressed & (~worker.i.p.empty | words.word.last)),
        ]

    def cuts(self, number: int) -> dict[tuple[int, int], list[tuple[int, int, int]]]:
        """Elements that are a group's by every gang and split of an item, and ``wide``."""
        hw, parts = self.hw, defaultdict(list)
        together = hw.read_words.bit_length() - 1
        for wide in range(2 if together else 1):
            for (index, gang), split in product(enumerate(hw.gangs), hw.splits):
                size, part = hw.word >> split, number // gang % (1 << split)
                if wide:
                    if split < together:
                        continue
                    size, part = size << together, part >> together
                parts[part * size, (part + 1) * size].append((index, split, wide))
        return parts

    def selected(self, m: Module, number: int):
        """Return whether a group holds a part of the word selected in the cycle before."""
        result, tile = Signal(name=f"selected_{number}"), self.sums.word[1:]
        with m.Switch(self.sums.gang):
            for index, gang in enumerate(self.hw.gangs):
                with m.Case(index):
                    m.d.sync += result.eq(self.sums.groups[number] & (tile == number % gang))
        return result

    def score(self, m: Module):
        """Return the score of the last key if it was selected in the cycle before, else 0.

        No group has the word behind those of its gang. It is the last of its item, so the score is
        taken as the item is released.
        """
        behind, scores = Signal(), self.last_keys
        with m.Switch(self.sums.gang):
            for index, gang in enumerate(self.hw.gangs):
                with m.Case(index):
                    m.d.sync += behind.eq(self.sums.release & (self.sums.word == 2 * gang))
        m.d.comb += scores.ready.eq(behind)
        m.d.sync += Assert(~behind | scores.valid, "the score of the last key is late")
        return Mux(behind, scores.payload, 0)

    def add(self, m: Module, words):
        """Add the selected words, one level of pairs a stage.

        What is not selected is reset in the first registers and not masked, and no two adders
        follow each other without a register, since synthesis would join them: so 24 groups take
        23 adders of one LUT a bit. All words are complements: with ``A = ~a`` and ``B = ~b`` that
        of the sum is ``~(a + b) = A - ~B``.
        """
        shape, level = sums_of(self.hw), []
        last_key = self.score(m) if self.hw.last_key else None
        for number, (chosen, complement) in enumerate(words):
            word = Signal(shape, name=f"word_{number}", reset_less=True)
            m.d.sync += word.eq(complement)
            with m.If(~chosen):
                m.d.sync += word.eq(-1)
                if last_key is not None and number == 0:
                    m.d.sync += word[0].eq(~last_key)
            level.append(word)
        for stage in range(1, self.READ_LATENCY - 1):
            pairs = [level[n : n + 2] for n in range(0, len(level), 2)]
            level = [Signal(shape, name=f"sum_{stage}_{n}", reset_less=True)
                     for n in range(len(pairs))]
            for made, (left, *right) in zip(level, pairs, strict=True):
                m.d.sync += [made[n].eq(left[n] - ~right[0][n] if right else left[n])
                             for n in range(self.hw.word)]
        assert len(level) == 1
        m.d.comb += self.sums.acc.eq(~level[0].as_value())
