"""Units that move payloads and never change them."""
