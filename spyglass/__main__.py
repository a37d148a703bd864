"""Run the command line: ``python -m spyglass``."""

from __future__ import annotations

import gc
import os
import sys

#: How many objects are made before reference cycles are looked for.
_OBJECTS = 100_000


def main() -> int:
    """Run the command line with the process's arguments; returns the exit code."""
    # numpy would start a thread for each processor, for matrices that there are none of here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What a command makes when it starts stays: to look for reference cycles there every 700 objects, as Python does, takes
    # time that a user sees in a summary. Modules alone make more than 50,000.
    gc.set_threshold(_OBJECTS)
    from spyglass.cli import run
    from spyglass.cli.capabilities import use_permitted

    use_permitted()
    status = run(sys.argv[1:])
    # Before it ends Python looks for reference cycles in all that is left, several times: that takes as long as a tenth of a
    # summary. What DuckDB finds left at the end it lists on standard error.
    if "duckdb" not in sys.modules:
        gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(main())
