"""The systemd unit of `spyglass serve` is one that systemd takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "docs" / "spyglass.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/usr/local/bin/spyglass", sys.executable)
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


def test_the_unit_has_the_fewest_capabilities() -> None:
    lines = UNIT.read_text().splitlines()
    given = [line.partition("=")[2] for line in lines if "Capabilit" in line and "=" in line]
    assert given == ["CAP_SYS_PTRACE CAP_PERFMON"] * 2
