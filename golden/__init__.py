"""The reference: which bits come out. Only this package imports PyTorch."""
