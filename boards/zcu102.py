"""ZCU102: an AMD XCZU9EG with DDR4-2133 of 64 bits on the programmable logic's side."""

from deltamoe.boards.board import Board, Zynq
from deltamoe.boards.clock import ULTRASCALE_PLUS, Assumed, Clock, by_levels
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel

ZCU102 = Board(
    hardware=HwConfig(
        name="zcu102", groups=24, lanes=64, packed=True, queue_words=64, attention_lag=31,
        acc_width=26, max_tokens=1024, max_embed=768, max_depth=2048, max_experts=32, max_top_k=8,
        weight_rows=512, kv_rows=512, act_words=10240, normed_words=4736, residual_words=4768,
        queued_tokens=256, read_words=4,
        state_words=4096, reference_words=4096, param_words=256, norm_words=64, program_depth=256,
        burst_beats=64, outstanding=8,
    ),
    part="xcup",
    clock=Clock(300.0, Assumed("the clock of the published accelerators on this board")),
    supported=by_levels(7.0, ULTRASCALE_PLUS, "c331720"),
    memory=MemoryModel(latency=100, interval=1),
    memory_source="assumed: 64 bytes a cycle is all that the board's DDR4 has",
    zynq=Zynq(device="xczu9eg-ffvb1156-2-e", board_part="xilinx.com:zcu102:part0:3.4"),
)
