"""Units of the hardware that take time: when each does what, one file for each.

A file has the name of the unit's own in ``rtl``. Its docstring derives every cycle from the
registers there, and ``@ c`` stands for "in cycle ``c``". A signal that ``m.d.sync`` assigns in a
cycle has its value from the next one on; so offsets count the registers on the way.
"""
