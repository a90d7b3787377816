"""Sweeps: which hardware is best for a network, in several respects at once."""
