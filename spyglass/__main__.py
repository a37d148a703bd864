"""Run the command line: ``python -m spyglass``."""

from __future__ import annotations

import gc
import os
import sys

#: How many objects are made before circles of them are looked for.
_OBJECTS = 50_000


def main() -> int:
    """Run the command line with the process's arguments; returns the exit code."""
    # numpy would start a thread for each processor, for matrices that there are none of here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What a command makes when it starts stays: to look for circles there every 700 objects, as Python does, takes a
    # twelfth of the time of a summary.
    gc.set_threshold(_OBJECTS)
    from spyglass.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
