"""Small cores: what a snapshot reads of a process, written as a core file."""
