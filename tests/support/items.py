"""Items that an item generator gives, collected."""

from amaranth import Value

from deltamoe.rtl.linear.item_generator import ItemGenerator
from tests.support.bench import put
from tests.support.case import encoded
from tests.support.cases import HW

TOKENS = [9, 2, 30, 4]
QUEUE = 3


def leaders(span: int, first: int = 0, end: int = HW.groups) -> int:
    """Return the mask of the groups from ``first`` to ``end`` that a span may begin at."""
    return sum(1 << n for n in range(first, end, span))


def read(ctx, view) -> dict:
    """Return the scalar fields of a struct."""
    return {name: ctx.get(Value.cast(view[name])) for name in view.shape().members
            if name != "drained"}


async def items_of(ctx, dut, count: int, operator, ready_every: int,
                   entry: dict[str, int] | None = None) -> list[dict]:
    """Collect ``count`` items; the first must come ItemGenerator.LATENCY cycles after start.

    What the expert's queue ``QUEUE`` holds follows from the position unless ``entry`` says
    otherwise; it is known to be the next only in the cycle before.
    """
    got, cycle, first, asks = [], -1, None, hasattr(dut, "queue")
    while len(got) < count:
        ctx.set(dut.operator.start, cycle == 0)
        if cycle == 0:
            put(ctx, dut.operator.descriptor, encoded(operator))
        if asks:
            ctx.set(dut.upcoming, QUEUE if cycle < 0 else QUEUE + 1)
        ctx.set(dut.o.ready, cycle % ready_every == 0)
        if ctx.get(dut.o.valid):
            first = cycle if first is None else first
            if cycle % ready_every == 0:
                got.append(read(ctx, dut.o.p) | {
                    f"to_{k}": v for k, v in read(ctx, dut.o.p.drained).items()})
        queue, index = divmod(ctx.get(dut.queue.address), HW.max_tokens) if asks else (0, 0)
        await ctx.tick()
        if asks:
            held = {"token": TOKENS[index % len(TOKENS)], "weight": 1000 + index,
                    "place": 3 * index + 1, "known": index % 2} | (entry or {})
            for name, value in held.items():
                ctx.set(dut.queue.data[name], value if queue == QUEUE else 1)
        cycle += 1
        assert cycle < 2000
    assert first == ItemGenerator.LATENCY
    if ready_every <= 2:
        assert cycle - ready_every <= first + 2 * (count - 1), "an item every two cycles"
    for _ in range(20):
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.o.valid), "an item too many"
    return got
