"""AXI4 masters, on-chip buffers and the register file."""
