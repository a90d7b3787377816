"""cocotb: the whole accelerator on cocotbext-axi's memory, which checks the protocol.

An invalid program ends in an error with the interrupt; the reset command recovers; then the right
program runs, with pauses on every channel, to the bytes that the integer golden gives.
"""

import itertools
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS
from deltamoe.rtl.program import ErrorCode


def pauses(seed: int):
    """Pause one cycle in four."""
    rng = random.Random(seed)
    return (rng.random() < 0.25 for _ in itertools.count())


async def stable(dut, channel: str, names: list[str]) -> None:
    """A valid channel that is not ready keeps its payload."""
    def signal(name):
        return getattr(dut, f"m_axi_{channel}{name}")
    held = None
    while True:
        await RisingEdge(dut.aclk)
        await ReadOnly()
        now = [int(signal(name).value) for name in names] if signal("valid").value else None
        assert held is None or held == now, f"{channel} changed before it was taken"
        held = now if now is not None and not signal("ready").value else None


async def run(lite: AxiLiteMaster, dut, length: int, size: int) -> tuple[int, int, int]:
    """Run a program; return status, error code and error index."""
    for name, value in (("program_low", 0), ("program_length", length), ("memory_size", size),
                        ("interrupt_enable", 1), ("control", 1)):
        await lite.write_dword(REGISTERS[name].offset, value)
    await with_timeout(RisingEdge(dut.interrupt), 5, "ms")
    return tuple([await lite.read_dword(REGISTERS[name].offset)
                  for name in ("status", "error_code", "error_index")])


@cocotb.test()
async def recovers_and_matches(dut) -> None:
    case = np.load(os.environ["DELTAMOE_CASE"])
    Clock(dut.aclk, 10, "ns").start()
    dut.aresetn.value = 0
    lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, False)
    size = int(case["size"])
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, False, size=1 << 20)
    for _ in range(4):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    for channel, names in (("ar", ["addr", "len"]), ("aw", ["addr", "len"]),
                           ("w", ["data", "last"])):
        cocotb.start_soon(stable(dut, channel, names))
    for number, pausing in enumerate((ram.read_if.ar_channel, ram.read_if.r_channel,
                                      ram.write_if.aw_channel, ram.write_if.w_channel,
                                      ram.write_if.b_channel)):
        pausing.set_pause_generator(pauses(int(os.environ["DELTAMOE_SEED"]) + number))

    ram.write(0, case["broken"].tobytes())
    status, code, index = await run(lite, dut, int(case["length"]), size)
    assert (status & 0b111, code, index) == (0b100, ErrorCode.FIELD, int(case["index"]))
    await lite.write_dword(REGISTERS["control"].offset, 2)
    for _ in range(2):
        await RisingEdge(dut.aclk)
    assert not dut.interrupt.value
    assert await lite.read_dword(REGISTERS["status"].offset) == 0

    ram.write(0, case["memory"].tobytes())
    status, code, _ = await run(lite, dut, int(case["length"]), size)
    assert (status & 0b111, code) == (0b010, ErrorCode.NONE)
    assert ram.read(0, size) == case["expected"].tobytes()
    assert await lite.read_dword(COUNTERS_OFFSET) > 1000
    answer = await lite.read(0xFFC, 4)
    assert (answer.resp, answer.data) == (0, bytes(4)), "an unknown register does not read as 0"
