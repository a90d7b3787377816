"""Program that writes a SoC of LiteX for the ULX3S: accelerator, SDRAM, a bridge from the UART.

There is no processor: the host behind the UART reaches all of the bus. Between it, the accelerator
and SDRAM is no cache. ``soc.py JOB``, where ``JOB`` is JSON of the parameters of :func:`write`,
runs in a process of its own, since LiteX keeps state and sets up logging; it imports nothing of
this repository but the packaged accelerator.
"""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

from litedram.init import get_sdram_phy_init_sequence
from litedram.modules import MT48LC16M16
from litedram.phy import GENSDRPHY
from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import DDROutput
from litex.build.sim import SimPlatform
from litex.gen import ClockDomain, LiteXModule
from litex.soc.cores.clock import ECP5PLL
from litex.soc.cores.uart import UARTPHY, RS232PHYModel, UARTBone
from litex.soc.integration.export import get_csr_csv, get_csr_json
from litex.soc.integration.soc_core import SoCCore
from litex_boards.platforms.radiona_ulx3s import Platform
from migen import ClockSignal, ResetSignal, Signal

CRYSTAL = 25e6
"""Hz of the board's oscillator."""

FLAGS = {f"DFII_{register}_{flag}": 1 << at
         for register, flags in (("COMMAND", ("CS", "WE", "CAS", "RAS")),
                                 ("CONTROL", ("SEL", "CKE", "ODT", "RESET_N")))
         for at, flag in enumerate(flags)}
"""Bits of LiteDRAM's registers, as its sequences name them."""


def simulated() -> SimPlatform:
    """Return pins as on the board, but those of the clock, and a UART that moves whole bytes."""
    given = ["sink_valid", "sink_ready", "source_valid", "source_ready"]
    widths = {"a": 13, "ba": 2, "dq": 16, "dm": 2} | dict.fromkeys(
        ("we_n", "ras_n", "cas_n", "cs_n", "cke"), 1)
    return SimPlatform("SIM", [
        ("clk", 0, Pins(1)), ("rst", 0, Pins(1)),
        ("serial", 0, *(Subsignal(name, Pins(1)) for name in given),
         Subsignal("sink_data", Pins(8)), Subsignal("source_data", Pins(8))),
        ("sdram", 0, *(Subsignal(name, Pins(width)) for name, width in widths.items()))])


COMMENT = re.compile(r"^//.*?$|/\*.*?\*/", re.DOTALL | re.MULTILINE)
"""A comment of the Verilog: they name the time, and modules in any order."""


class SimulatedClock(LiteXModule):
    """Clock and reset from pins."""

    def __init__(self, platform) -> None:
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(platform.request("clk")),
                      self.cd_sys.rst.eq(platform.request("rst"))]


class Clock(LiteXModule):
    """Clock from the board's oscillator; a quarter of a cycle later, that of SDRAM.

    Button ``F1`` is reset, and so is ``rst``, which a register of LiteX's drives.
    """

    def __init__(self, platform, hz: float) -> None:
        self.rst = Signal()
        self.cd_sys = ClockDomain()
        self.cd_sys_ps = ClockDomain()
        self.pll = ECP5PLL()
        self.comb += self.pll.reset.eq(platform.request("user_btn", 1) | self.rst)
        self.pll.register_clkin(platform.request("clk25"), CRYSTAL)
        self.pll.create_clkout(self.cd_sys, hz)
        self.pll.create_clkout(self.cd_sys_ps, hz, phase=90)
        self.specials += DDROutput(1, 0, platform.request("sdram_clock"), ClockSignal("sys_ps"))


class SoC(SoCCore):
    """The SoC, to which ``add(self)`` adds the accelerator.

    LED 0 is on when the clock runs, LED 1 from the end of a program until it is cleared.
    """

    def __init__(self, hz: float, baud: float, add, *, simulation: bool = False) -> None:
        platform = simulated() if simulation else Platform("LFE5U-85F")
        self.crg = SimulatedClock(platform) if simulation else Clock(platform, hz)
        super().__init__(platform, hz, cpu_type=None, ident="", with_uart=False, with_timer=False,
                         integrated_sram_size=0)
        pads = platform.request("serial")
        self.uart_phy = RS232PHYModel(pads) if simulation else UARTPHY(pads, hz, baud)
        self.uartbone = UARTBone(self.uart_phy, hz, address_width=self.bus.address_width)
        self.bus.add_master("uartbone", self.uartbone.wishbone)
        self.sdram_module = MT48LC16M16(hz, "1:1")
        self.sdrphy = GENSDRPHY(platform.request("sdram"), hz)
        self.add_sdram("sdram", phy=self.sdrphy, module=self.sdram_module, l2_cache_size=0)
        core = add(self)
        if not simulation:
            self.comb += [platform.request("wifi_gpio0").eq(1),  # else the ESP32 may reset the part
                          platform.request("user_led", 0).eq(~ResetSignal()),
                          platform.request("user_led", 1).eq(core.interrupt)]

    def description(self) -> dict:
        """Return what a driver has to know, after the SoC was finalized.

        ``registers``, ``memory``: address and bytes. ``mark``: address of a register that nothing
        here uses. ``wake``: writes of registers that wake SDRAM up, and cycles to wait behind each.
        """
        found = json.loads(get_csr_json(self.csr_regions, self.constants, self.mem_regions))
        control, *others = (found["csr_registers"][f"sdram_dfii_{name}"]["addr"] for name in (
            "control", *(f"pi0_{name}" for name in ("address", "baddress", "command",
                                                    "command_issue"))))
        steps, _ = get_sdram_phy_init_sequence(self.sdrphy.settings,
                                               self.sdram_module.timing_settings)
        wake = []
        for _, address, bank, command, cycles in steps:
            value = sum(FLAGS[flag] for flag in command.split("|"))
            if command.startswith("DFII_CONTROL"):
                wake.append(step(control, value, cycles))
            else:
                wake += map(step, others, (address, bank, value, 1), (0, 0, 0, cycles))
        wake.append(step(control, FLAGS["DFII_CONTROL_SEL"], 0))
        registers, memory = ({"address": window["base"], "bytes": window["size"]}
                             for window in map(found["memories"].get, ("deltamoe", "main_ram")))
        return {"registers": registers, "memory": memory, "wake": wake,
                "mark": found["csr_registers"]["ctrl_scratch"]["addr"]}


def step(address: int, value: int, cycles: int) -> dict[str, int]:
    """Return a write of a register, and the wait behind it."""
    return {"address": address, "value": value, "cycles": cycles}


def write(folder: str, hz: float, baud: float, package: str, *, simulation: bool = False) -> None:
    """Write ``top.v``, ``soc.json``, ``csr.csv`` and, for the board, ``top.lpf`` to a folder.

    Parameters
    ----------
    folder : str
        A new one.
    hz, baud : float
        Clock, and bits per second of the UART.
    package : str
        Python module of the packaged accelerator, in its folder.
    simulation : bool
        Clock, reset, bytes of the UART and SDRAM are pins, and nothing is of the part.
    """
    sys.path.insert(0, str(Path(package).parent))
    add = import_module(Path(package).stem).add_deltamoe
    soc, place = SoC(hz, baud, add, simulation=simulation), Path(folder).absolute()
    soc.finalize()
    place.mkdir(parents=True)
    if simulation:
        soc.platform.get_verilog(soc, name="top").write(str(place / "top.v"))
    else:
        soc.platform.build(soc, build_dir=str(place), build_name="top", run=False)
    (place / "top.v").write_text(COMMENT.sub("", (place / "top.v").read_text()))
    (place / "soc.json").write_text(json.dumps(soc.description()))
    table = get_csr_csv(soc.csr_regions, soc.constants, soc.mem_regions)
    (place / "csr.csv").write_text("".join(
        f"{line}\n" for line in table.splitlines() if not line.startswith("#")))


if __name__ == "__main__":
    write(**json.loads(sys.argv[1]))
