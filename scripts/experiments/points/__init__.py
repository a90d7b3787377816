"""Points: a network, an accelerator, a policy, a memory and an input, and what they give."""
