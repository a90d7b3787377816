"""Energy from counted actions and a table of costs with sources."""
