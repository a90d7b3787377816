"""LayerNorm of the rows of the residual stream."""
