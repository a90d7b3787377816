"""The accelerator in Amaranth, one file per unit, in the order a token meets them."""
