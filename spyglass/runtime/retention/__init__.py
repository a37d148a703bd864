"""What keeps objects of the heap alive."""
