"""AXI4 and AXI4-Lite channels as signatures (Arm IHI 0022, issue H)."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS_WIDTH = 40
OKAY = 0


class AxiRead(wiring.Signature):
    """Read channels of an AXI4 manager with ``8 * size`` data bits, and with ``qos`` if so."""

    def __init__(self, size: int, *, qos: bool = False) -> None:
        super().__init__({
            "arid": Out(1), "araddr": Out(ADDRESS_WIDTH), "arlen": Out(8), "arsize": Out(3),
            "arburst": Out(2), "arcache": Out(4), "arprot": Out(3),
            **({"arqos": Out(4)} if qos else {}), "arvalid": Out(1), "arready": In(1),
            "rid": In(1), "rdata": In(8 * size), "rresp": In(2), "rlast": In(1),
            "rvalid": In(1), "rready": Out(1),
        })


class AxiWrite(wiring.Signature):
    """Write channels of an AXI4 manager with ``8 * size`` data bits; ``qos`` as in AxiRead."""

    def __init__(self, size: int, *, qos: bool = False) -> None:
        super().__init__({
            "awid": Out(1), "awaddr": Out(ADDRESS_WIDTH), "awlen": Out(8), "awsize": Out(3),
            "awburst": Out(2), "awcache": Out(4), "awprot": Out(3),
            **({"awqos": Out(4)} if qos else {}), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(8 * size), "wstrb": Out(size), "wlast": Out(1),
            "wvalid": Out(1), "wready": In(1),
            "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
        })


class AxiLite(wiring.Signature):
    """AXI4-Lite manager with 32 data bits."""

    def __init__(self, address_width: int = 12) -> None:
        super().__init__({
            "awaddr": Out(address_width), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_width), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })
