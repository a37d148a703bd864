"""The command line: one module per command."""

from __future__ import annotations


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments`; returns the exit code."""
    raise NotImplementedError
