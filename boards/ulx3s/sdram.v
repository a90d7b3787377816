// A chip of SDRAM, 4 banks of 8192 rows of 512 words of 16 bits (MT48LC16M16), for simulation.
//
// It answers one word to each command, 2 cycles later, as its mode register must be set. It ends the
// simulation, by ``broken``, when a command breaks a rule of the data sheet: the chip was not woken up, a row is not
// open or already is, a time between two commands is too short, or in PERIOD cycles come fewer than
// REFRESHES refreshes. Times are in cycles, from the arguments of the program. Its clock is half a cycle behind that of the controller,
// whose outputs change at the rising edge; on the board it is a quarter of a cycle.

module sdram (
  input clk, cke, cs_n, ras_n, cas_n, we_n,
  input [12:0] a,
  input [1:0] ba, dm,
  inout [15:0] dq,
  output reg broken
);
  localparam MODE = 3'b000, REFRESH = 3'b001, PRECHARGE = 3'b010, ACTIVATE = 3'b011, WRITE = 3'b100,
             READ = 3'b101, NOTHING = 3'b111;
  localparam integer LONG_AGO = -1000, T_MRD = 2;

  reg [15:0] words[0:(1 << 24) - 1];
  reg [15:0] found, late;
  reg [12:0] row[0:3];
  reg [3:0] open = 0;
  reg mode_set = 0, woken = 0, reading = 0, driven = 0;
  reg given;
  integer T_RP, T_RCD, T_RAS, T_RC, T_RFC, T_WR, PERIOD, REFRESHES;
  // Cycles in which each bank was activated, is precharged from, was written to; and of the chip.
  integer activated[0:3], precharged[0:3], written[0:3];
  integer now = 0, refreshed = LONG_AGO, loaded = LONG_AGO, refreshes = 0, since = 0, i;
  wire [2:0] command = cs_n || !cke ? NOTHING : {ras_n, cas_n, we_n};
  wire [23:0] place = {ba, row[ba], a[8:0]};

  assign dq = driven ? late : 16'bz;

  initial begin
    given = $value$plusargs("T_RP=%d", T_RP) && $value$plusargs("T_RCD=%d", T_RCD)
            && $value$plusargs("T_RAS=%d", T_RAS) && $value$plusargs("T_RC=%d", T_RC)
            && $value$plusargs("T_RFC=%d", T_RFC) && $value$plusargs("T_WR=%d", T_WR)
            && $value$plusargs("PERIOD=%d", PERIOD) && $value$plusargs("REFRESHES=%d", REFRESHES);
    for (i = 0; i < 4; i = i + 1) begin
      activated[i] = LONG_AGO;
      precharged[i] = LONG_AGO;
      written[i] = LONG_AGO;
    end
  end

  task automatic require(input holds, input [255:0] rule);
    if (!holds) begin
      $fdisplay(32'h8000_0002, "SDRAM, cycle %0d, command %b of bank %0d: %0s", now, command, ba, rule);
      broken = 1;
    end
  endtask

  function automatic integer later(input integer one, input integer other);
    later = one > other ? one : other;
  endfunction

  task automatic precharge(input [1:0] bank);
    if (open[bank]) begin
      require(now - activated[bank] >= T_RAS, "tRAS");
      require(now - written[bank] >= T_WR, "tWR");
      precharged[bank] = now;
    end
    open[bank] = 0;
  endtask

  task automatic access;
    require(open[ba], "no row is open");
    require(now - activated[ba] >= T_RCD, "tRCD");
    reading = command == READ;
    if (reading) found = words[place];
    else begin
      if (!dm[0]) words[place][7:0] = dq[7:0];
      if (!dm[1]) words[place][15:8] = dq[15:8];
      written[ba] = now;
    end
    if (a[10]) begin
      open[ba] = 0;
      precharged[ba] = later(activated[ba] + T_RAS, reading ? now + 1 : now + T_WR);
    end
  endtask

  always @(negedge clk) begin
    broken = 0;
    require(given, "a time is missing");
    late <= found;
    driven <= reading;
    reading = 0;
    if (command != NOTHING) begin
      require(now - refreshed >= T_RFC, "tRFC");
      require(now - loaded >= T_MRD, "tMRD");
    end
    case (command)
      MODE: begin
        require(open == 0, "a row is open");
        require(a[6:0] == 7'b0100000, "not a latency of 2 and bursts of 1");
        loaded = now;
        mode_set = 1;
      end
      REFRESH: begin
        require(open == 0, "a row is open");
        for (i = 0; i < 4; i = i + 1) require(now - precharged[i] >= T_RP, "tRP");
        refreshed = now;
        refreshes = refreshes + 1;
        woken = woken || mode_set && refreshes >= 2;
      end
      PRECHARGE: for (i = 0; i < 4; i = i + 1) if (a[10] || ba == i) precharge(i[1:0]);
      ACTIVATE: begin
        require(woken, "it was not woken up");
        require(!open[ba], "a row is open");
        require(now - precharged[ba] >= T_RP, "tRP");
        require(now - activated[ba] >= T_RC, "tRC");
        open[ba] = 1;
        row[ba] = a;
        activated[ba] = now;
      end
      READ, WRITE: access;
      default: ;
    endcase
    if (woken) since = since + 1;
    if (since == PERIOD) begin
      require(refreshes >= REFRESHES, "refreshed too seldom");
      since = 0;
      refreshes = 0;
    end
    now = now + 1;
  end
endmodule
