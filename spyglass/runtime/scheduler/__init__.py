"""The scheduler: its counters, Ps and Ms, and what the threads of the process run."""
