"""Record for a while where a program spends its time."""
