"""From float weights to integers, and their file."""
