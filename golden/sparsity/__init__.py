"""Sparsity mechanisms of the literature: the exact rule at inference and what it lets skip."""
