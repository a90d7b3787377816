"""Frame after frame: what is sent of a frame, by policy, and what that costs."""
