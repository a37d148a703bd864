"""Package-level variables of a program, decoded by their types."""
