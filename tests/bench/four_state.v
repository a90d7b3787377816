// Runs one program on the accelerator in any Verilog simulator, with the memory of harness.cpp.
//
// A read burst accepted in cycle t has its first beat valid in cycle t + latency and then one every
// cycle. Addresses and write beats are accepted at once; a write's answer is valid latency cycles
// after its last beat. Nothing that the accelerator is given is unknown.
//
// +before=HEX is the memory, a bus word a line, +after=HEX where it is written at the end;
// +length=DESCRIPTORS of the program at address 0, +size=BYTES, +latency=CYCLES, +cycles=MOST.
// Prints: registers status error_code error_index counters... in hexadecimal, x where unknown.

`timescale 1ns / 1ps

module four_state;
  localparam BYTES = `BUS_BYTES;
  localparam QUEUE = 64;

  reg clock = 0;
  reg running = 0;
  reg [63:0] now = 0;
  always #5 clock = !clock;

  reg [8*BYTES-1:0] memory [0:`MEMORY_WORDS-1];
  reg [8*256-1:0] initial_image, final_image;
  integer length, size, latency, most;

  wire [39:0] araddr, awaddr;
  wire [7:0] arlen, awlen;
  wire arvalid, rready, awvalid, wvalid, wlast, bready;
  wire [8*BYTES-1:0] wdata;
  wire [BYTES-1:0] wstrb;
  // Reads.
  reg [39:0] read_address [0:QUEUE-1];
  reg [8:0] read_left [0:QUEUE-1];
  reg [63:0] read_ready [0:QUEUE-1];
  integer read_first = 0, read_end = 0;
  wire [39:0] read_at = read_address[read_first % QUEUE];
  wire rvalid = read_first != read_end && read_ready[read_first % QUEUE] <= now;
  wire rlast = rvalid && read_left[read_first % QUEUE] == 1;
  wire [8*BYTES-1:0] rdata = rvalid ? memory[read_at / BYTES] : 0;

  always @(posedge clock) begin
    now <= now + 1;
    if (running && arvalid) begin
      read_address[read_end % QUEUE] <= araddr;
      read_left[read_end % QUEUE] <= arlen + 1;
      read_ready[read_end % QUEUE] <= now + latency;
      read_end <= read_end + 1;
    end
    if (running && rvalid && rready) begin
      read_address[read_first % QUEUE] <= read_at + BYTES;
      read_left[read_first % QUEUE] <= read_left[read_first % QUEUE] - 1;
      if (rlast) read_first <= read_first + 1;
    end
  end

  // Writes.
  reg [39:0] write_address [0:QUEUE-1];
  reg [63:0] answer_ready [0:QUEUE-1];
  integer write_first = 0, write_end = 0, answer_first = 0, answer_end = 0;
  integer lane;
  wire [39:0] write_at = write_address[write_first % QUEUE];
  wire wready = write_first != write_end;
  wire bvalid = answer_first != answer_end && answer_ready[answer_first % QUEUE] <= now;

  always @(posedge clock) begin
    if (running && awvalid) begin
      write_address[write_end % QUEUE] <= awaddr;
      write_end <= write_end + 1;
    end
    if (running && wvalid && wready) begin
      for (lane = 0; lane < BYTES; lane = lane + 1)
        if (wstrb[lane]) memory[write_at / BYTES][8*lane +: 8] <= wdata[8*lane +: 8];
      write_address[write_first % QUEUE] <= write_at + BYTES;
      if (wlast) begin
        write_first <= write_first + 1;
        answer_ready[answer_end % QUEUE] <= now + latency;
        answer_end <= answer_end + 1;
      end
    end
    if (running && bvalid && bready) answer_first <= answer_first + 1;
  end

  // Registers.
  reg [11:0] lite_awaddr = 0, lite_araddr = 0;
  reg [31:0] lite_wdata = 0;
  reg lite_awvalid = 0, lite_wvalid = 0, lite_arvalid = 0;
  wire lite_awready, lite_wready, lite_bvalid, lite_arready, lite_rvalid, interrupt;
  wire [31:0] lite_rdata;

  deltamoe dut (
    .aclk(clock), .aresetn(running), .interrupt(interrupt),
    .m_axi_arready(1'b1), .m_axi_arvalid(arvalid), .m_axi_araddr(araddr), .m_axi_arlen(arlen),
    .m_axi_rvalid(rvalid), .m_axi_rready(rready), .m_axi_rdata(rdata), .m_axi_rlast(rlast),
    .m_axi_rresp(2'b0), .m_axi_rid(1'b0),
    .m_axi_awready(1'b1), .m_axi_awvalid(awvalid), .m_axi_awaddr(awaddr), .m_axi_awlen(awlen),
    .m_axi_wready(wready), .m_axi_wvalid(wvalid), .m_axi_wdata(wdata), .m_axi_wstrb(wstrb),
    .m_axi_wlast(wlast),
    .m_axi_bvalid(bvalid), .m_axi_bready(bready), .m_axi_bresp(2'b0), .m_axi_bid(1'b0),
    .s_axi_awaddr(lite_awaddr), .s_axi_awprot(3'b0), .s_axi_awvalid(lite_awvalid),
    .s_axi_awready(lite_awready),
    .s_axi_wdata(lite_wdata), .s_axi_wstrb(4'hf), .s_axi_wvalid(lite_wvalid),
    .s_axi_wready(lite_wready), .s_axi_bvalid(lite_bvalid), .s_axi_bready(1'b1),
    .s_axi_araddr(lite_araddr), .s_axi_arprot(3'b0), .s_axi_arvalid(lite_arvalid),
    .s_axi_arready(lite_arready), .s_axi_rvalid(lite_rvalid), .s_axi_rready(1'b1),
    .s_axi_rdata(lite_rdata));

  task write_register(input [11:0] offset, input [31:0] data);
    begin
      lite_awaddr <= offset;
      lite_wdata <= data;
      lite_awvalid <= 1;
      lite_wvalid <= 1;
      @(posedge clock);
      @(posedge clock);
      while (lite_awvalid || lite_wvalid) begin
        if (lite_awready) lite_awvalid <= 0;
        if (lite_wready) lite_wvalid <= 0;
        @(posedge clock);
      end
      while (!(lite_bvalid === 1)) @(posedge clock);
    end
  endtask

  task print_register(input [11:0] offset);
    begin
      lite_araddr <= offset;
      lite_arvalid <= 1;
      @(posedge clock);
      @(posedge clock);
      while (!(lite_arready === 1)) @(posedge clock);
      lite_arvalid <= 0;
      while (!(lite_rvalid === 1)) @(posedge clock);
      $write("%h ", lite_rdata);
    end
  endtask

  integer number;
  initial begin
    if (!($value$plusargs("before=%s", initial_image) && $value$plusargs("after=%s", final_image)
          && $value$plusargs("length=%d", length) && $value$plusargs("size=%d", size)
          && $value$plusargs("latency=%d", latency) && $value$plusargs("cycles=%d", most))) begin
      $display("an argument is missing");
      $finish;
    end
    $readmemh(initial_image, memory);
    repeat (4) @(posedge clock);
    running <= 1;
    write_register(`REG_PROGRAM_LENGTH, length);
    write_register(`REG_MEMORY_SIZE, size);
    write_register(`REG_INTERRUPT_ENABLE, 1);
    write_register(`REG_CONTROL, 1);
    while (!(interrupt === 1)) @(posedge clock);
    $write("registers ");
    print_register(`REG_STATUS);
    print_register(`REG_ERROR_CODE);
    print_register(`REG_ERROR_INDEX);
    for (number = 0; number < 2 * `COUNTERS; number = number + 1)
      print_register(`REG_COUNTERS + 4 * number);
    $write("\n");
    $writememh(final_image, memory);
    $finish;
  end

  always @(posedge clock)
    if (now > most) begin
      $display("no interrupt within %0d cycles", most);
      $finish;
    end
endmodule
