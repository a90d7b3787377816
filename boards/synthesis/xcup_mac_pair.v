// A packed MacPair of rtl/linear/mac_pair.py in exactly one DSP48E2 and no other logic, as a
// techmap of Yosys, whose own packer takes in neither the sum nor the registers around it.
// Modes of the DSP48E2: AMD UG579. Two products in one: AMD WP487.
//
//   factor  = 2**19 * w1 + w0      pre-adder, ADREG
//   event   = delta                BREG
//   product = factor * event       multiplier, MREG
//   P       = product + (begin ? 2**18 : P)    if valid; W multiplexer, PREG
//
// A run begins with 2**18 (RND) and not with 0. So bits 38:19 of P are the upper sum, rounded, and
// need no correction by the sign of the lower sum, whose top bit (18) is inverted.

(* techmap_celltype = "MacPair" *)
module _xcup_mac_pair (
    input clk, input rst,
    input [7:0] w0, input [7:0] w1, input [8:0] delta, input \begin , input valid,
    output [19:0] low, output [19:0] high
);
  wire [47:0] p;

  DSP48E2 #(
      .AMULTSEL("AD"), .BMULTSEL("B"), .PREADDINSEL("A"), .USE_MULT("MULTIPLY"),
      .AREG(0), .ACASCREG(0), .BREG(1), .BCASCREG(1), .CREG(0), .DREG(0),
      .ADREG(1), .MREG(1), .PREG(1),
      .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0), .INMODEREG(0), .OPMODEREG(0),
      .RND(48'h000000040000)
  ) dsp (
      .CLK(clk),
      .A({{3{w1[7]}}, w1, 19'b0}), .D({{19{w0[7]}}, w0}), .B({{9{delta[8]}}, delta}), .C(48'b0),
      .INMODE(5'b00100), .ALUMODE(4'b0000),
      .OPMODE({\begin , ~\begin , 3'b000, 2'b01, 2'b01}),
      .CARRYIN(1'b0), .CARRYINSEL(3'b000),
      .CEA1(1'b0), .CEA2(1'b0), .CEB1(1'b0), .CEB2(1'b1), .CEC(1'b0), .CED(1'b0),
      .CEAD(1'b1), .CEM(1'b1), .CEP(valid),
      .CEALUMODE(1'b0), .CECARRYIN(1'b0), .CECTRL(1'b0), .CEINMODE(1'b0),
      .RSTA(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTD(1'b0), .RSTM(1'b0), .RSTP(1'b0),
      .RSTALLCARRYIN(1'b0), .RSTALUMODE(1'b0), .RSTCTRL(1'b0), .RSTINMODE(1'b0),
      .P(p)
  );

  assign low = {{2{~p[18]}}, p[17:0]};
  assign high = p[38:19];
endmodule
