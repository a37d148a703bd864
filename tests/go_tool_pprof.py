"""``go tool pprof`` of a toolchain."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from fixtures.fetch import cache_directory
from tests.support import toolchain

__all__ = ["go_tool_pprof"]


def go_tool_pprof(minor: str, home: Path, *arguments: str | Path) -> str:
    """What it prints; `home` is for its files."""
    return _printed([_tool(minor), *arguments], {"HOME": str(home), "PPROF_TMPDIR": str(home)})


@cache
def _tool(minor: str) -> str:
    """The program that ``go tool pprof`` runs. Since Go 1.25 it is built when it is first used, and each ``go tool``
    makes sure that it is up to date, which takes longer than what it does then."""
    cached = {"GOCACHE": str(cache_directory() / "gocache")}
    return _printed([toolchain(minor), "tool", "-n", "pprof"], cached).strip()


def _printed(command: list[str | Path], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
