"""A network in memory and the drivers that run it: the manifest, in Python and in C."""
