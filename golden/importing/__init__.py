"""A user's own network: found in files of other programs, made one of ours."""
