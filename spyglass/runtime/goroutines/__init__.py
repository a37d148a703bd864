"""Reading goroutines while they run: ``g`` structures, the consistency protocol, pprof labels."""
