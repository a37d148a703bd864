"""Look into running Go programs from outside."""
