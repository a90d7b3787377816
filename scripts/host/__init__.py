"""The machine that all of this runs on: files, programs, the cache. Knows no network."""
