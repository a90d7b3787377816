"""Gate, top-k, expert queues and the weighted combination."""
