"""Run the command line: ``python -m spyglass``."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line with the process's arguments; returns the exit code."""
    # numpy would start a thread for each processor, for matrices that there are none of here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from spyglass.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
