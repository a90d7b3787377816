"""The one compute unit: every matrix product of the network runs here.

``gang`` neighboring lane groups follow one worker, so an item covers ``gang * lanes`` columns::

    events ──► worker 0 ──► group 0 ──┐
           ──► worker … ──► group … ──┼──► word of accumulators ──► drain
           ──► worker n ──► group n ──┘
"""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import event_word
from rtl.linear.lane_group import LaneGroup
from rtl.linear.worker import Worker


class ComputeUnit(wiring.Component):
    """Lane groups, their workers, and the ganging between them.

    Worker ``group * queues + queue`` is numbered after its leading group. With a gang of ``n``
    only the workers of every ``n``-th group take items.

    Members
    -------
    i : ``In(stream.Signature(event_word(hw)))``
        Events for ``worker``.
    worker : ``In(range(hw.workers))``
        Queue that ``i`` goes to.
    gang : ``In(4)``
        Index into ``hw.gangs``; stable while items are in flight.
    accept : ``In(hw.workers)``
        One-hot: an item has been assigned to this worker.
    waiting : ``Out(2).array(hw.workers)``
        Items of each worker that are not yet summed.
    complete, bank : ``Out(hw.workers)``
        The worker's oldest item is summed, and in which bank.
    select, word : ``In``
        Worker and word of its columns to read.
    release : ``In(1)``
        ``select``'s oldest item is drained.
    acc : ``Out``
        The word selected two cycles ago.
    weight_write, weight_groups, kv_write : ``In``
        A row for the groups of a mask; half a row for all groups.
    popped, blocked : ``Out(hw.workers)``
        Workers that sent an event, and that wait for a bank.

    Timing
    ------
    See :class:`Worker`; ``acc`` follows ``select`` and ``word`` by two cycles.
    """

    i: stream.Interface
    READ_LATENCY = 2

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        row = data.ArrayLayout(signed(8), hw.lanes)
        half = data.ArrayLayout(signed(8), hw.word)
        super().__init__({
            "i": In(stream.Signature(event_word(hw))), "worker": In(range(hw.workers)),
            "gang": In(4), "accept": In(hw.workers), "waiting": Out(2).array(hw.workers),
            "complete": Out(hw.workers), "bank": Out(hw.workers),
            "select": In(range(hw.workers)), "word": In(16), "release": In(1),
            "acc": Out(data.ArrayLayout(signed(hw.acc_width), hw.word)),
            "weight_write": In(data.StructLayout({"en": 1, "row": 16, "data": row})),
            "weight_groups": In(hw.groups),
            "kv_write": In(data.StructLayout({"en": 2, "row": 16, "data": half})),
            "popped": Out(hw.workers), "blocked": Out(hw.workers),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        workers = [Worker(hw) for _ in range(hw.workers)]
        groups = [LaneGroup(hw) for _ in range(hw.groups)]

        for number, worker in enumerate(workers):
            m.submodules[f"worker_{number}"] = worker
            m.d.comb += [
                worker.i.payload.eq(self.i.payload),
                worker.i.valid.eq(self.i.valid & (self.worker == number)),
                worker.accept.eq(self.accept[number]),
                worker.release.eq(self.release & (self.select == number)),
                self.waiting[number].eq(worker.waiting),
                self.complete[number].eq(worker.complete),
                self.bank[number].eq(worker.bank),
                self.popped[number].eq(worker.valid),
                self.blocked[number].eq(worker.blocked),
            ]
            with m.If(self.worker == number):
                m.d.comb += self.i.ready.eq(worker.i.ready)

        chosen = Signal(range(hw.groups))
        m.d.sync += chosen.eq(self.select // hw.queues + self.word // 2)
        for number, group in enumerate(groups):
            m.submodules[f"group_{number}"] = group
            m.d.comb += [
                group.weight_write.eq(self.weight_write),
                group.weight_write.en.eq(self.weight_write.en & self.weight_groups[number]),
                group.kv_write.eq(self.kv_write),
                group.queue.eq(self.select % hw.queues), group.half.eq(self.word[0]),
                group.bank.eq(self.bank.bit_select(self.select, 1)),
            ]
            with m.Switch(self.gang):
                for index, gang in enumerate(hw.gangs):
                    leader = (number - number % gang) * hw.queues
                    with m.Case(index):
                        for queue in range(hw.queues):
                            m.d.comb += [
                                group.event[queue].eq(workers[leader + queue].event),
                                group.valid[queue].eq(workers[leader + queue].valid),
                            ]
            with m.If(chosen == number):
                m.d.sync += [self.acc[n].eq(group.acc[n]) for n in range(hw.word)]

        return m
