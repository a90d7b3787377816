"""Cycle-level model: when it comes out, and at what cost. Never elaborates hardware."""
