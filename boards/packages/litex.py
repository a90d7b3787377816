"""LiteX: a Python module with the accelerator as a LiteX module, for SoCs of any board."""

import re

from deltamoe.boards.packages.core import Core, Format
from deltamoe.rtl.control.register_map import SPACE
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH

SIGNAL = re.compile(r"([ms]\d?)_axi_(aw|ar|w|b|r)(\w+)")
"""A port of a bus: side and number, channel, signal of the channel."""

HEAD = '''\
"""DeltaMoE, {hardware}, for LiteX. Written by deltamoe package --as litex.

In a SoC, which may have an SDRAM controller of LiteDRAM::

    from {name} import add_deltamoe

    add_deltamoe(self)
"""

from pathlib import Path

from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import stream
from litex.soc.interconnect.axi import AXIInterface, AXILiteInterface
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import Cat, ClockSignal, If, Instance, ResetSignal, Signal, log2_int

SOURCE = Path(__file__).with_name("{name}.v")

REGISTERS = {{
{registers}
}}
"""Byte offsets."""


class DeltaMoE(LiteXModule):
    """The accelerator, in the clock domain ``sys``.

    Attributes
    ----------
    memories : list of AXIInterface
        Reads programs, weights and images, writes results; of several, each has its own addresses.
    registers : AXILiteInterface
        The registers of ``REGISTERS``.
    interrupt : Signal
        High from the end of a program until it is cleared.
    ev : EventManager
        The same as the event ``ended``.
    """

    def __init__(self, platform):
        self.memories = [
            AXIInterface(data_width={data_bits}, address_width={address_bits}, id_width=1)
            for _ in range({ports})]
        self.registers = AXILiteInterface(data_width=32, address_width=32)
        self.interrupt = Signal()
        self.ev = EventManager()
        self.ev.ended = EventSourceLevel(description="A program has ended.")
        self.ev.finalize()
        self.comb += self.ev.ended.trigger.eq(self.interrupt)
        platform.add_source(str(SOURCE))
        self.specials += Instance(
            "{name}",
{pins}
        )


class Narrowed(LiteXModule):
    """A wide port of LiteDRAM as neighboring words of a narrow one, a word in each cycle.

    LiteDRAM's own converter takes a cycle more for each wide word.
    """

    def __init__(self, wide, narrow):
        count = Signal(max=wide.data_width // narrow.data_width)
        self.cmd = cmd = stream.Buffer([("we", 1), ("addr", wide.address_width)])
        self.comb += [
            wide.cmd.connect(cmd.sink),
            narrow.cmd.valid.eq(cmd.source.valid),
            narrow.cmd.we.eq(cmd.source.we),
            narrow.cmd.addr.eq(Cat(count, cmd.source.addr)),
            cmd.source.ready.eq(narrow.cmd.ready & (count == 2**len(count) - 1)),
        ]
        self.sync += If(narrow.cmd.valid & narrow.cmd.ready, count.eq(count + 1))
        self.wdata = stream.StrideConverter(wide.wdata.description, narrow.wdata.description)
        self.rdata = stream.StrideConverter(narrow.rdata.description, wide.rdata.description)
        self.comb += [wide.wdata.connect(self.wdata.sink), self.wdata.source.connect(narrow.wdata),
                      narrow.rdata.connect(self.rdata.sink), self.rdata.source.connect(wide.rdata)]


def memory_port(soc, name):
    """Return a port of the SoC's SDRAM that is as wide as the accelerator's."""
    width = soc.sdram.crossbar.controller.data_width
    if width >= {data_bits}:
        return soc.sdram.crossbar.get_port(data_width={data_bits})
    from litedram.common import LiteDRAMNativePort

    narrow = soc.sdram.crossbar.get_port()
    wide = LiteDRAMNativePort("both", narrow.address_width - log2_int({data_bits} // width),
                              {data_bits}, id=narrow.id)
    soc.add_module(f"{{name}}_narrowed", Narrowed(wide, narrow))
    return wide


def add_deltamoe(soc, name="deltamoe", origin=0x9000_0000):
    """Add the accelerator to a SoC, and return it.

    Its registers get a region on the bus at ``origin``, where most processors do not cache, and
    constants of their offsets; its interrupt gets a number, if the processor has any. Its memory is
    a port of LiteDRAM, one for each of its own, if the SoC has SDRAM, whose first byte is then
    address 0 of the accelerator, and else the bus of the SoC.
    """
    core = DeltaMoE(soc.platform)
    soc.add_module(name, core)
    soc.bus.add_slave(name, core.registers, SoCRegion(origin=origin, size={space}, cached=False))
    for register, offset in REGISTERS.items():
        soc.add_constant(f"{{name}}_{{register}}_offset", offset)
    if soc.irq.enabled:
        soc.irq.add(name, use_loc_if_exists=True)
    for number, memory in enumerate(core.memories):
        if hasattr(soc, "sdram"):
            from litedram.frontend.axi import LiteDRAMAXI2Native

            where = f"{{name}}_memory{{number or ''}}"
            port = memory_port(soc, where)
            soc.add_module(where, LiteDRAMAXI2Native(memory, port))
        else:
            bus = AXIInterface({data_bits}, soc.bus.address_width, id_width=1)
            soc.comb += memory.connect(bus)
            soc.bus.add_master(f"{{name}}{{number or ''}}", bus)
    return core
'''


def pins(core: Core) -> str:
    """Return the arguments that connect each port."""
    lines = []
    for port in core.ports:
        value = {"aclk": "ClockSignal()", "aresetn": "~ResetSignal()",
                 "interrupt": "self.interrupt"}.get(port.name)
        if found := SIGNAL.fullmatch(port.name):
            bus = "registers" if found[1] == "s" else f"memories[{found[1][1:] or 0}]"
            value = f"self.{bus}.{found[2]}.{found[3]}"
            if (found[1], found[3]) == ("s", "addr"):
                value += f"[:{port.width}]"  # the bus is wider
        lines.append(f"            {'o' if port.output else 'i'}_{port.name}={value},")
    return "\n".join(lines)


def module(core: Core) -> str:
    """Return the Python module."""
    return HEAD.format(
        hardware=core.board.hardware.name, name=core.name, pins=pins(core), space=f"0x{SPACE:x}",
        data_bits=8 * core.board.hardware.port_bytes, address_bits=ADDRESS_WIDTH,
        ports=core.board.hardware.memory_ports,
        registers="\n".join(f'    "{name}": 0x{register.offset:03x},'
                            for name, register in core.registers.items()))


def files(core: Core) -> dict[str, str]:
    """Return the Python module and the Verilog beside it."""
    return {f"{core.name}.py": module(core), f"{core.name}.v": core.verilog}


FORMAT = Format(
    name="litex", holds="Python module that adds the accelerator to a SoC of LiteX", files=files,
    use=lambda core: f"from {core.name} import add_deltamoe, with the folder on PYTHONPATH",
    checked="LiteX makes SoCs with it, with SDRAM and without; every pin is connected with its "
            "width; the digits run on both in Verilator, and no bit differs (long tests). A SoC of "
            "ULX3S with nano is routed",
    unchecked="nothing of the module; no SoC with it has been run on a board")
