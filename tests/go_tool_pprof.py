"""``go tool pprof`` of a toolchain."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from fixtures.fetch import cache_directory
from tests.support import toolchain

__all__ = ["go_tool_pprof"]


def go_tool_pprof(minor: str, home: Path, *arguments: str | Path) -> str:
    """What it prints; `home` is for its files."""
    done = subprocess.run(
        [toolchain(minor), "tool", "pprof", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "HOME": str(home),
            "PPROF_TMPDIR": str(home),
            "GOCACHE": str(cache_directory() / "gocache"),  # the tool is built when first used
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
