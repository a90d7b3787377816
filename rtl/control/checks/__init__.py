"""What makes a descriptor valid."""
