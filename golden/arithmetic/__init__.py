"""The specification of each operator in integers, one file for each."""
