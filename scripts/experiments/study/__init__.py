"""Studies: a question, the points that answer it, and the report."""
