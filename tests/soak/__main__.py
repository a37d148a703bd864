"""``make soak HOURS=1``: what takes hours. Prints a report of numbers; the exit status is 1 if something is wrong."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.hours import observe
from tests.soak.killed_stops import kill_often
from tests.soak.replaced import replace_often
from tests.support import NEWEST, Flavour, start

#: A part of the soak returns lines of the report, and lines about what is wrong.
Result = tuple[list[str], list[str]]


def main() -> int:
    """Run the parts that the command line names; the exit status."""
    parser = argparse.ArgumentParser(description="Observe programs for hours.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--kills", type=int, default=200, help="stops to kill spyglass in")
    parser.add_argument("--replacements", type=int, default=1000, help="processes to replace")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part alone")
    arguments = parser.parse_args()
    if (
        signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    ):  # as a shell starts what is in the background, and commands would be
        signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"{os.cpu_count()} processors, Linux {os.uname().release}, load {os.getloadavg()[0]:.1f}")
    wrong = [each for name in arguments.only or _USUAL for each in _run(name, arguments)]
    print("\n".join(f"wrong: {each}" for each in wrong) or "nothing is wrong")
    return 1 if wrong else 0


def _run(name: str, arguments: argparse.Namespace) -> list[str]:
    """Run a part and print its report; what is wrong."""
    began = time.monotonic()
    try:
        lines, wrong = PARTS[name](arguments)
    except (pytest.fail.Exception, AssertionError) as error:
        lines, wrong = [], [f"{name}: {error}"]
    print(f"\n{name}, {time.monotonic() - began:.0f} s", *lines, sep="\n  ", flush=True)
    return wrong


def _killed(arguments: argparse.Namespace) -> Result:
    with (
        tempfile.TemporaryDirectory() as folder,
        start("pulse", NEWEST, Flavour.EXE, "-n", "2000", "-spin", "1") as process,
    ):
        killed = kill_often(process, Path(folder), arguments.kills)
    return [
        f"killed {killed.commands} commands with SIGKILL, {killed.holding} of them while they held a process",
        "after each the process beat on, and no thread was stopped, traced or about to be stopped",
    ], []


def _replaced(arguments: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        tally = replace_often(Path(folder), arguments.replacements)
    return tally.lines(), tally.wrong


def _observed(arguments: argparse.Namespace) -> Result:
    found = observe(arguments.hours, arguments.replacements)
    return found.lines, found.wrong


PARTS: dict[str, Callable[[argparse.Namespace], Result]] = {
    "killed": _killed,
    "replaced": _replaced,
    "observed": _observed,
}
#: Those that are run: the last replaces processes beside what it observes.
_USUAL = ("killed", "observed")

if __name__ == "__main__":
    sys.exit(main())
