"""Command line and tools around the accelerator."""
