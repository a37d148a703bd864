"""What Podman and Docker have in common for tests: commands, what they know of a container, and a look into one."""

from __future__ import annotations

import json
import os
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from spyglass import attach
from spyglass.model import Snapshot
from tests.agreement import disagreements
from tests.support import GoProcess

__all__ = ["SPEAKER", "TIMEOUT_SECONDS", "Engine", "agreed"]

TIMEOUT_SECONDS = float(os.environ.get("SPYGLASS_TEST_SECONDS", "120"))
#: The goroutine of truth.go that speaks.
SPEAKER = 1


class Engine(ABC):
    """An engine whose files are below `root` as they are below / where it is installed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of the engine with `arguments`."""

    def __call__(self, *arguments: str | Path, status: int = 0, sent: bytes = b"") -> str:
        """What it prints; it must end with `status`."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.root, input=sent, capture_output=True,
            timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        output, errors = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == status, (arguments, output, errors)
        return output if status == 0 else errors

    def state(self, container: str) -> dict[str, Any]:
        """What it knows of a container."""
        (found,) = json.loads(self("inspect", container))
        assert isinstance(found, dict)
        return found

    def pid(self, container: str) -> int:
        """The first process of a container."""
        return int(self.state(container)["State"]["Pid"])


def agreed(pid: int, process: GoProcess) -> Snapshot:
    """A snapshot of truth.go, whose process is `pid` here, which is what it says of itself."""
    truth = process.truth()
    with attach(pid) as program:
        snapshot = program.snapshot("full")
    assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER]) == []
    assert snapshot.problems == ()
    return snapshot
