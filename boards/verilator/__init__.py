"""The generated Verilog, run by Verilator with a memory of fixed latency."""
