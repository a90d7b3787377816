"""Other simulators of matrix products, on the same products and an array of the same size."""
