"""What ``import deltamoe`` offers and the commands call: one module for each subject."""
