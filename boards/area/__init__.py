"""What a design needs of a part, estimated from its geometry."""
