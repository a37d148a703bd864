"""Boot machines and print what the checks in them found.

python -m tests.vm                     all machines, as far as there are no results for this state of the code
python -m tests.vm amd64-6.1 --again   this one, whatever is known of it
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from fixtures.fetch import FetchError
from tests.vm.boot import boot
from tests.vm.image import MissingTool, initial_file_system, kernel
from tests.vm.machines import MACHINES, Machine
from tests.vm.results import Results

_REPOSITORY = Path(__file__).resolve().parents[2]
_RESULTS = _REPOSITORY / "build" / "vm"


def main() -> int:
    """Boot the machines that the command line names; 1 if a check failed, 2 if a machine could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("machine", nargs="*", metavar="MACHINE", help=", ".join(MACHINES))
    parser.add_argument("--again", action="store_true", help="also what is known already")
    parser.add_argument("--only", default="", help="checks, as pytest's option -k chooses them")
    parser.add_argument("--seconds", type=float, default=3600, help="for each machine")
    arguments = parser.parse_args()
    if unknown := set(arguments.machine) - set(MACHINES):
        parser.error(f"no machine {', '.join(sorted(unknown))}; there are {', '.join(MACHINES)}")
    return max(_try(MACHINES[name], arguments) for name in arguments.machine or MACHINES)


def _try(machine: Machine, arguments: argparse.Namespace) -> int:
    results = Results(_RESULTS / f"{machine.name}.json", _state(), fresh=arguments.again)
    if results.ended:
        print(f"{machine.name}: done for this state of the code; --again tries it again")
        return 0
    print(f"{machine.name}: Linux of Debian {machine.suite}, {machine.arch}", flush=True)
    settings = {"done": results.done(), "only": arguments.only}
    try:
        with tempfile.TemporaryDirectory(prefix="spyglass-vm-") as folder:
            files = kernel(machine), initial_file_system(machine, Path(folder), settings)
            log = _RESULTS / f"{machine.name}.log"
            ended = boot(machine, files, arguments.seconds, results.add, log)
    except (MissingTool, FetchError) as missing:
        print(f"  left out: {missing}")
        return 2
    if not ended:
        print(f"  did not come to an end: {log} has its console")
    elif not arguments.only:
        results.end()
    print(f"  {len(results.outcomes)} checks, {results.failed()} failed")
    return int(bool(results.failed()) or not ended)


def _state() -> str:
    """What of the code is tried: its trees, and a hash of what was changed since."""
    parts = ["spyglass", "fixtures", "tests/vm/guest"]
    commands = (
        ["git", "rev-parse", *(f"HEAD:{part}" for part in parts)],
        ["git", "diff", "HEAD", "--", *parts],
    )
    outputs = b"".join(
        subprocess.run(
            command, capture_output=True, check=False, timeout=60, cwd=_REPOSITORY
        ).stdout
        for command in commands
    )
    return hashlib.sha256(outputs).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
