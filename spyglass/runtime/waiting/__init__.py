"""What goroutines wait on: objects, holders, and who can never be woken."""
