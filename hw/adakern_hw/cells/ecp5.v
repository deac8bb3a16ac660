// Block RAM of the ECP5 (Lattice FPGA-TN-02204): 512 words of 36 bits behind two ports of 1, 2, 4, 9, 18 or
// 36 bits each, as Yosys' lattice/brams_map_16kd.v uses it.
//
// A stand-in, for Yosys has only the ports. What the data sheet leaves open is made visible: a bit that one
// port reads while the other one writes it comes inverted. Settings that Yosys does not choose, such as the
// output register, have no model and are refused.
module DP16KD (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3,
  input DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
  output DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3,
  input DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
  output DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter GSR = "ENABLED";
  parameter [319:0]
    INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
    INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0,
    INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0,
    INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
    INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
    INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0,
    INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0,
    INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
    INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
    INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
    INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;
  // Words of 18 bits in 20 each, the first one lowest.
  localparam [64*320-1:0] CONTENT = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };

  reg [35:0] memory[0:511];
  integer row;
  initial for (row = 0; row < 512; row = row + 1)
    memory[row] = {CONTENT[40*row+20+:18], CONTENT[40*row+:18]};

  wire [8:0] row_a, row_b;
  wire [35:0] mask_a, mask_b, written_a, written_b, read_a, read_b;
  wire clock_a = CLKAMUX == "INV" ? ~CLKA : CLKA;
  wire clock_b = CLKBMUX == "INV" ? ~CLKB : CLKB;

  DP16KD_port #(DATA_WIDTH_A, REGMODE_A, WRITEMODE_A, RESETMODE, CSDECODE_A) port_a (
    .clock(clock_a), .enable(CEA), .write(WEA), .reset(RSTA),
    .select({CSA2, CSA1, CSA0}),
    .address({ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0}),
    .data({DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
      DIB3, DIB2, DIB1, DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7,
      DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0}),
    .word(memory[row_a]), .clashing(row_a == row_b ? mask_b : 36'b0),
    .row(row_a), .mask(mask_a), .written(written_a), .read(read_a)
  );
  DP16KD_port #(DATA_WIDTH_B, REGMODE_B, WRITEMODE_B, RESETMODE, CSDECODE_B) port_b (
    .clock(clock_b), .enable(CEB), .write(WEB), .reset(RSTB),
    .select({CSB2, CSB1, CSB0}),
    .address({ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0}),
    .data({18'b0, DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
      DIB4, DIB3, DIB2, DIB1, DIB0}),
    .word(memory[row_b]), .clashing(row_a == row_b ? mask_a : 36'b0),
    .row(row_b), .mask(mask_b), .written(written_b), .read(read_b)
  );

  integer bit_a, bit_b;
  always @(posedge clock_a)
    for (bit_a = 0; bit_a < 36; bit_a = bit_a + 1)
      if (mask_a[bit_a]) memory[row_a][bit_a] <= written_a[bit_a];
  always @(posedge clock_b)
    for (bit_b = 0; bit_b < 36; bit_b = bit_b + 1)
      if (mask_b[bit_b]) memory[row_b][bit_b] <= written_b[bit_b];

  // A read of 36 bits leaves at both ports, the low half at A.
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
    DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? read_b[17:0] : read_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
    DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? read_b[35:18] : read_b[17:0];
endmodule

// One port: where it reads and writes in the word of its row, and its output latch.
module DP16KD_port (
  input clock, enable, write, reset,
  input [2:0] select,
  input [13:0] address,
  input [35:0] data, word, clashing,
  output [8:0] row,
  output [35:0] mask, written, read
);
  parameter WIDTH = 18;
  parameter REGMODE = "NOREG", WRITEMODE = "NORMAL", RESETMODE = "SYNC", CSDECODE = "0b000";

  generate
    if (CSDECODE != "0b000" || REGMODE != "NOREG")
      setting_without_a_model unsupported();
  endgenerate

  wire active = enable && select == 3'b000;
  wire writing = active && write && !(RESETMODE == "SYNC" && reset);
  wire [35:0] lanes;
  wire [5:0] offset;
  generate
    case (WIDTH)
      36: begin
        assign offset = 0;
        assign lanes = {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}};
      end
      18: begin
        assign offset = address[4] ? 18 : 0;
        assign lanes = {{9{address[1]}}, {9{address[0]}}};
      end
      9: begin
        assign offset = 9 * address[4:3];
        assign lanes = 36'h1ff;
      end
      4: begin
        assign offset = 9 * address[4:3] + {address[2], 2'b0};
        assign lanes = 36'hf;
      end
      2: begin
        assign offset = 9 * address[4:3] + {address[2:1], 1'b0};
        assign lanes = 36'h3;
      end
      1: begin
        assign offset = 9 * address[4:3] + address[2:0];
        assign lanes = 36'h1;
      end
      default: setting_without_a_model unsupported();
    endcase
  endgenerate

  assign row = address[13:5];
  assign mask = writing ? lanes << offset : 36'b0;
  assign written = data << offset;

  wire [35:0] old = word ^ clashing;
  wire [35:0] found = WRITEMODE == "WRITETHROUGH" ? (old & ~mask) | (written & mask) : old;
  wire asynchronous_reset = RESETMODE == "ASYNC" && reset;
  reg [35:0] latch;
  always @(posedge clock, posedge asynchronous_reset)
    if (asynchronous_reset) latch <= 0;
    else if (reset) latch <= 0;
    else if (active && !(writing && WRITEMODE == "NORMAL")) latch <= found >> offset;
  assign read = latch;
endmodule

// Multiplier of the ECP5 (Lattice FPGA-TN-02205) with its registers on one clock. A stand-in, for Yosys has
// only the ports.
module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16,
  output P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  parameter GSR = "ENABLED", RESETMODE = "SYNC";

  generate
    if (RESETMODE != "SYNC") setting_without_a_model unsupported();
  endgenerate

  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};

  // The sign travels with its operand.
  wire signed [35:0] a_0, b_0;
  wire [35:0] p_0, p_1;
  MULT18X18D_rank #(REG_INPUTA_CLK, REG_INPUTA_CE, REG_INPUTA_RST) input_a (
    CLK0, CE0, RST0, {{18{SIGNEDA & a[17]}}, a}, a_0);
  MULT18X18D_rank #(REG_INPUTB_CLK, REG_INPUTB_CE, REG_INPUTB_RST) input_b (
    CLK0, CE0, RST0, {{18{SIGNEDB & b[17]}}, b}, b_0);
  MULT18X18D_rank #(REG_PIPELINE_CLK, REG_PIPELINE_CE, REG_PIPELINE_RST) pipeline (
    CLK0, CE0, RST0, a_0 * b_0, p_0);
  MULT18X18D_rank #(REG_OUTPUT_CLK, REG_OUTPUT_CE, REG_OUTPUT_RST) result (CLK0, CE0, RST0, p_0, p_1);

  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17,
    P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p_1;
endmodule

// A register, or none.
module MULT18X18D_rank (input clock, enable, reset, input [35:0] value, output [35:0] result);
  parameter CLK = "NONE", CE = "CE0", RST = "RST0";

  generate
    if (CLK == "NONE") assign result = value;
    else begin
      if (CLK != "CLK0" || CE != "CE0" || RST != "RST0") setting_without_a_model unsupported();
      reg [35:0] register;
      always @(posedge clock)
        if (reset) register <= 0;
        else if (enable) register <= value;
      assign result = register;
    end
  endgenerate
endmodule

// Look-up table, in a form that simulates faster than Yosys' own.
module LUT4 (input A, B, C, D, output Z);
  parameter [15:0] INIT = 0;
  assign Z = INIT[{D, C, B, A}];
endmodule
