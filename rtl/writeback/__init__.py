"""From accumulators to where their operator wants them."""
