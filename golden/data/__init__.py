"""Pictures, videos and generated sequences as tensors."""
