"""Run the command line: ``python -m spyglass``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line with the process's arguments; returns the exit code."""
    from spyglass.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
