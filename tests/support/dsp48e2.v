// The features of a DSP48E2 (AMD UG579) that boards/xcup_mac_pair.v uses, and no other; any other
// mode ends the simulation.
module DSP48E2 #(
    parameter AMULTSEL = "A", parameter BMULTSEL = "B", parameter PREADDINSEL = "A",
    parameter USE_MULT = "MULTIPLY",
    parameter integer AREG = 1, parameter integer ACASCREG = 1, parameter integer BREG = 1,
    parameter integer BCASCREG = 1, parameter integer CREG = 1, parameter integer DREG = 1,
    parameter integer ADREG = 1, parameter integer MREG = 1, parameter integer PREG = 1,
    parameter integer ALUMODEREG = 1, parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1, parameter integer INMODEREG = 1,
    parameter integer OPMODEREG = 1, parameter [47:0] RND = 48'h0
) (
    input CLK, input [29:0] A, input signed [26:0] D, input signed [17:0] B, input [47:0] C,
    input [4:0] INMODE, input [3:0] ALUMODE, input [8:0] OPMODE,
    input CARRYIN, input [2:0] CARRYINSEL,
    input CEA1, input CEA2, input CEB1, input CEB2, input CEC, input CED, input CEAD, input CEM,
    input CEP, input CEALUMODE, input CECARRYIN, input CECTRL, input CEINMODE,
    input RSTA, input RSTB, input RSTC, input RSTD, input RSTM, input RSTP, input RSTALLCARRYIN,
    input RSTALUMODE, input RSTCTRL, input RSTINMODE,
    output reg [47:0] P
);
  reg signed [26:0] ad;
  reg signed [17:0] b;
  reg signed [44:0] product;
  wire [47:0] w = OPMODE[8:7] == 2'b01 ? P : RND;

  initial
    if (AMULTSEL != "AD" || BMULTSEL != "B" || PREADDINSEL != "A" || USE_MULT != "MULTIPLY"
        || AREG + CREG + DREG + ACASCREG != 0
        || BREG != 1 || BCASCREG != 1 || ADREG != 1 || MREG != 1 || PREG != 1
        || ALUMODEREG + CARRYINREG + CARRYINSELREG + INMODEREG + OPMODEREG != 0)
      $fatal(1, "parameters that the model lacks");

  always @(posedge CLK) begin
    if (INMODE != 5'b00100 || ALUMODE != 0 || CARRYIN || CARRYINSEL != 0
        || OPMODE[6:0] != 7'b0000101 || (OPMODE[8:7] != 2'b01 && OPMODE[8:7] != 2'b10)
        || RSTA || RSTB || RSTC || RSTD || RSTM || RSTP || RSTALLCARRYIN || RSTALUMODE || RSTCTRL
        || RSTINMODE) $fatal(1, "a mode that the model lacks");
    if (CEAD) ad <= $signed(A[26:0]) + D;
    if (CEB2) b <= B;
    if (CEM) product <= ad * b;
    if (CEP) P <= w + {{3{product[44]}}, product};
  end
endmodule
