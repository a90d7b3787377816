"""What the mechanisms decide, by family."""
