"""What is kept from one frame to the next, and which tokens changed."""
