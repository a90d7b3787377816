// The SoC with SDRAM, and what passes on the accelerator's port to memory.

module bench (
  input clk, rst,
  input [7:0] sent,
  input sent_valid, taken_ready,
  output sent_ready, taken_valid,
  output [7:0] taken,
  output broken, ar, r, r_last, aw, w, w_last, b
);
  wire [12:0] a;
  wire [1:0] ba, dm;
  wire cas_n, cke, cs_n, ras_n, we_n;
  wire [15:0] dq;

  top soc (
    .clk(clk), .rst(rst), .sim_trace(1'b0),
    .serial_sink_data(sent), .serial_sink_valid(sent_valid), .serial_sink_ready(sent_ready),
    .serial_source_data(taken), .serial_source_valid(taken_valid), .serial_source_ready(taken_ready),
    .sdram_a(a), .sdram_ba(ba), .sdram_dm(dm), .sdram_dq(dq), .sdram_cas_n(cas_n),
    .sdram_cke(cke), .sdram_cs_n(cs_n), .sdram_ras_n(ras_n), .sdram_we_n(we_n)
  );

  sdram chip (
    .clk(clk), .cke(cke), .cs_n(cs_n), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n), .a(a), .ba(ba),
    .dm(dm), .dq(dq), .broken(broken)
  );

  assign ar = soc.`ACCELERATOR.m_axi_arvalid && soc.`ACCELERATOR.m_axi_arready;
  assign r = soc.`ACCELERATOR.m_axi_rvalid && soc.`ACCELERATOR.m_axi_rready;
  assign r_last = soc.`ACCELERATOR.m_axi_rlast;
  assign aw = soc.`ACCELERATOR.m_axi_awvalid && soc.`ACCELERATOR.m_axi_awready;
  assign w = soc.`ACCELERATOR.m_axi_wvalid && soc.`ACCELERATOR.m_axi_wready;
  assign w_last = soc.`ACCELERATOR.m_axi_wlast;
  assign b = soc.`ACCELERATOR.m_axi_bvalid && soc.`ACCELERATOR.m_axi_bready;
endmodule
