"""Words on their way to where they belong."""

import numpy as np

from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.numerics import ACTIVATION
from deltamoe.rtl import formats
from deltamoe.rtl.attention.kv_writer import KvWriter
from deltamoe.rtl.formats import RESULTS
from deltamoe.rtl.program import Dest, Linear
from deltamoe.rtl.writeback.writeback import Writeback
from tests.support.bench import put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW, P, tensor


def test_writeback_sends_words_where_they_belong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Writeback(HW)
    acc = rng.integers(-3000, 3000, P)
    expected = requantize(tensor(acc), tensor(900), 14, ACTIVATION).tolist()

    async def bench(ctx):
        put(ctx, dut.draining.operator.descriptor, encoded(Linear(columns=P, head_words=1, rows=1)))
        for dest in (Dest.ACT, Dest.RESIDUAL, Dest.VALUE, Dest.SCORES):
            width = RESULTS.index(ACTIVATION)
            put(ctx, dut.i.payload, pack(formats.scaled(HW), {
                "acc": acc.tolist(), "bias": [0] * P, "multiplier": [900] * P, "width": width,
                "tag": {"dest": dest, "address": 40 + dest, "count": P, "first": 1, "last": 1,
                        "final": 1}}))
            ctx.set(dut.i.valid, 1)
            seen, finished = {}, None
            for cycle in range(Writeback.DONE + 2):
                for name, enable, data in (
                        (Dest.ACT, dut.act.en, dut.act.data),
                        (Dest.RESIDUAL, dut.residual.valid, dut.residual.p.data),
                        (Dest.VALUE, dut.kv.en, dut.kv.data),
                        (Dest.SCORES, dut.scores.valid, dut.scores.p.data)):
                    if ctx.get(enable):
                        seen[name] = cycle, [ctx.get(data[n]) for n in range(P)]
                if ctx.get(dut.draining.written):
                    finished = cycle, ctx.get(dut.draining.row_written)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
            wanted = [value % 256 for value in expected] if dest == Dest.ACT else expected
            reached = Writeback.LATENCY + (KvWriter.LATENCY if dest == Dest.VALUE else 0)
            assert seen == {dest: (reached, wanted)}
            assert finished == (Writeback.DONE, dest != Dest.SCORES)

    simulate(dut, bench)
