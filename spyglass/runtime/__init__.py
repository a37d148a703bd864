"""The Go runtime: its structures, read out of a target, become a snapshot."""
