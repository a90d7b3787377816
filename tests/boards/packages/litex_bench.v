// Writes an image to main memory over a bus of the SoC, runs the accelerator, reads all of it back.
// Macros: WORDS of the image, MAIN_RAM, DELTAMOE (addresses on the bus), BASE (of the image, as the
// accelerator sees it), START, LENGTH and SIZE of the program, and the offsets of registers.

module bench;
  reg clk = 0, rst = 1, cyc = 0, stb = 0, we = 0;
  reg [29:0] adr;
  reg [31:0] data, got;
  wire [31:0] answer;
  wire ack, err;
  reg [31:0] image[0:`WORDS - 1];
  integer i, file;

  always #5 clk = ~clk;

  soc dut (
    .clk(clk), .rst(rst), .sim_trace(),
    .outside_adr(adr), .outside_dat_w(data), .outside_dat_r(answer), .outside_sel(4'hf),
    .outside_cyc(cyc), .outside_stb(stb), .outside_we(we), .outside_ack(ack), .outside_err(err),
    .outside_cti(3'b0), .outside_bte(2'b0)
  );

  task automatic access(input [31:0] address, input writes, input [31:0] value);
    @(negedge clk);
    adr = address[31:2];
    data = value;
    we = writes;
    cyc = 1;
    stb = 1;
    #1;
    while (!ack) @(negedge clk);
    got = answer;
    if (err) $fatal(1, "no answer at %h", address);
    @(posedge clk);
    @(negedge clk);
    cyc = 0;
    stb = 0;
  endtask

  initial begin
    $readmemh("image.hex", image);
    repeat (10) @(negedge clk);
    rst = 0;
    repeat (10) @(negedge clk);
    for (i = 0; i < `WORDS; i = i + 1) access(`MAIN_RAM + 4 * i, 1, image[i]);
    access(`DELTAMOE + `PROGRAM_LOW, 1, `BASE + `START);
    access(`DELTAMOE + `PROGRAM_LENGTH, 1, `LENGTH);
    access(`DELTAMOE + `MEMORY_LOW, 1, `BASE);
    access(`DELTAMOE + `MEMORY_SIZE, 1, `SIZE);
    access(`DELTAMOE + `CONTROL, 1, 1);
    got = 1;
    while (got[0]) access(`DELTAMOE + `STATUS, 0, 0);
    $display("status %0d", got);
    access(`DELTAMOE + `CYCLES_LOW, 0, 0);
    $display("cycles %0d", got);
    file = $fopen("after.hex", "w");
    for (i = 0; i < `WORDS; i = i + 1) begin
      access(`MAIN_RAM + 4 * i, 0, 0);
      $fdisplay(file, "%08x", got);
    end
    $fclose(file);
    $finish;
  end

  initial begin
    repeat (2_000_000) @(posedge clk);
    $fatal(1, "no end");
  end
endmodule
