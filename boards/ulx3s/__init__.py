"""ULX3S: a Lattice LFE5U-85F with 32 MiB of SDRAM, built with open tools."""

from deltamoe.boards.board import Board
from deltamoe.boards.clock import ECP5, Assumed, Clock, by_levels
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel

ULX3S = Board(
    hardware=HwConfig(
        name="ulx3s", groups=12, lanes=8, queue_words=192, block_queues=True, attention_lag=7,
        max_tokens=256, max_embed=192, max_depth=768, max_experts=16, max_top_k=4,
        weight_rows=512, kv_rows=1024, act_words=12384, normed_words=6192, residual_words=6192,
        param_words=128, norm_words=96, program_depth=64,
        burst_beats=32, outstanding=4,
    ),
    part="ecp5",
    clock=Clock(60.0, Assumed("each unit alone is routed above it, the whole accelerator is not")),
    supported=by_levels(8.9, ECP5, "80368d5"),
    memory=MemoryModel(latency=20, interval=4),
    memory_source="16 bits of SDRAM at the clock of the accelerator, without its row misses",
)
