"""Writes a SoC of LiteX with a packaged accelerator: litex_soc.py PACKAGE MEMORY, in a folder.

MEMORY is ``sdram`` or ``bus``; the files are ``soc.v`` and ``soc.json``. A Wishbone port of its bus
leads outside.
"""

import sys
from pathlib import Path

from litedram.modules import MT48LC16M16
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.sim import SimPlatform
from litex.gen import ClockDomain, LiteXModule
from litex.soc.integration.export import get_csr_json
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import wishbone

CLOCK = 50e6


class Clock(LiteXModule):
    def __init__(self, platform) -> None:
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(platform.request("clk")),
                      self.cd_sys.rst.eq(platform.request("rst"))]


class SoC(SoCCore):
    def __init__(self, memory: str) -> None:
        from deltamoe_nano import add_deltamoe

        outside = wishbone.Interface(data_width=32, address_width=32, addressing="word")
        platform = SimPlatform("SIM", [
            ("clk", 0, Pins(1)), ("rst", 0, Pins(1)),
            ("outside", 0, *(Subsignal(name, Pins(width)) for name, width, _ in outside.layout))])
        super().__init__(platform, CLOCK, cpu_type=None, uart_name="crossover",
                         integrated_main_ram_size=0x20000 if memory == "bus" else 0)
        self.crg = Clock(platform)
        self.comb += outside.connect_to_pads(platform.request("outside"), mode="slave")
        self.bus.add_master("outside", outside)
        if memory == "sdram":
            module = MT48LC16M16(CLOCK, "1:1")
            self.sdrphy = SDRAMPHYModel(module, data_width=16, clk_freq=CLOCK)
            self.add_sdram("sdram", phy=self.sdrphy, module=module, l2_cache_size=0)
        add_deltamoe(self)


if __name__ == "__main__":
    package, memory = sys.argv[1:]
    sys.path.insert(0, package)
    soc = SoC(memory)
    soc.finalize()
    soc.platform.get_verilog(soc, name="soc").write("soc.v")
    Path("soc.json").write_text(get_csr_json(soc.csr_regions, soc.constants, soc.mem_regions))
    print(soc.platform.sources[0][0], end="")
