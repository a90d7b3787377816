"""Names, sources and parameters of the mechanisms, by family; no torch."""
