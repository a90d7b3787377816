"""One file for each subcommand; each registers itself with the application."""
