"""What a simulation says of itself: spans, lost cycles, traces."""
