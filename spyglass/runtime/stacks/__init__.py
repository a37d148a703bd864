"""Stacks: unwinding them, and the functions, files and lines of their program counters."""
