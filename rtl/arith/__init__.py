"""Arithmetic blocks that never stall."""
