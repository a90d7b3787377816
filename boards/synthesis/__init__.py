"""What Yosys and nextpnr say of the accelerator's units on a part."""
