"""A quantized network to the program and the memory image that the accelerator runs."""
