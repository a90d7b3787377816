"""The smallest accelerator, for tests: no board, but every unit."""

from deltamoe.boards.board import Board
from deltamoe.boards.clock import Assumed, Clock, Routed
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel

NANO = Board(
    hardware=HwConfig(
        name="nano", groups=4, lanes=8, queue_words=64,
        max_tokens=32, max_embed=64, max_depth=128, max_experts=8, max_top_k=4,
        weight_rows=1024, kv_rows=512, act_words=1024, normed_words=512, residual_words=1024,
        state_words=8192, reference_words=4096, param_words=256, norm_words=64, program_depth=64,
        burst_beats=16, outstanding=2,
    ),
    part=None,
    clock=Clock(100.0, Assumed("a round number: the design is for no board")),
    supported=Clock(67.6, Routed(
        tool="nextpnr-ecp5 0.11.1", part="LFE5U-85F, speed grade 6", date="2026-11-29",
        commit="c331720", seed=1)),
    memory=MemoryModel(latency=20, interval=1),
    memory_source="a round number: the design is for no board",
)
