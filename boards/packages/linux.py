"""Linux: an overlay of the device tree, for UIO and a buffer that the accelerator can reach."""

from deltamoe.boards.packages.core import Core, Format, zynq_board
from deltamoe.rtl.control.register_map import SPACE

BUFFER = 128 << 20
"""Bytes of the buffer: the largest preset that ``zcu102`` takes, vit-base-197, has 86 million
weights.
"""

OVERLAY = """\
// DeltaMoE on {hardware}. Written by deltamoe package --as linux.
//
//   dtc -@ -I dts -O dtb -o {name}.dtbo {name}.dtso
//
// Loads {name}.bit.bin from /lib/firmware into the logic, gives it its clock, and makes:
//
//   /dev/uioN, whose /sys/class/uio/uioN/name is "{name}": registers, interrupt.
//   Its driver wants the kernel's argument uio_pdrv_genirq.of_id=generic-uio.
//   /dev/{name}-memory: {mebibytes} MiB below 4 GiB, by the module u-dma-buf, which is
//   no part of the kernel. The accelerator sees no cache: sync before a start and after the end.

/dts-v1/;
/plugin/;

&fpga_full {{
    #address-cells = <2>;
    #size-cells = <2>;
    firmware-name = "{name}.bit.bin";

    // pl_clk0 of {clock}; the driver is one of the vendor's kernel.
    clocking0 {{
        compatible = "xlnx,fclk";
        #clock-cells = <0>;
        clocks = <&zynqmp_clk 71>;
        assigned-clocks = <&zynqmp_clk 71>;
        assigned-clock-rates = <{hertz}>;
        clock-output-names = "fabric_clk";
    }};

    {name}@{registers:x} {{
        compatible = "generic-uio";
        linux,uio-name = "{name}";
        reg = <0x0 0x{registers:08x} 0x0 0x{space:x}>;
        interrupt-parent = <&gic>;
        interrupts = <0 {interrupt} 4>;  // shared, active high
        clocks = <&zynqmp_clk 71>;
    }};

    {name}-memory {{
        compatible = "ikwzm,u-dma-buf";
        device-name = "{name}-memory";
        size = <0x{buffer:08x}>;
        dma-mask = <32>;
    }};
}};
"""


def files(core: Core) -> dict[str, str]:
    """Return the source of the overlay."""
    zynq, clock = core.board.zynq, core.board.clock
    text = OVERLAY.format(
        hardware=core.board.hardware.name, name=core.name, clock=clock, space=SPACE,
        hertz=round(clock.mhz * 1e6), registers=zynq.registers, interrupt=zynq.interrupt,
        buffer=BUFFER, mebibytes=BUFFER >> 20)
    return {f"{core.name}.dtso": text}


FORMAT = Format(
    name="linux", holds="device-tree overlay: UIO, and memory by u-dma-buf", files=files,
    takes=zynq_board,
    use=lambda core: f"dtc -@ -I dts -O dtb -o {core.name}.dtbo {core.name}.dtso, in the folder",
    checked="dtc compiles it without a warning, and fdtoverlay applies it to a tree with the "
            "labels that it needs, where dtc is installed",
    unchecked="that a kernel takes it, and that its drivers find the accelerator")
