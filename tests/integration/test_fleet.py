"""``spyglass snapshot --parquet`` of a running process, and what ``spyglass fleet`` answers then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import started
from tests.support import GoProcess

#: Three commands that import pyarrow or DuckDB.
pytestmark = [pytest.mark.live, pytest.mark.slow]


def test_a_series_is_written_and_asked(truth_process: GoProcess, tmp_path: Path) -> None:
    truth = truth_process.truth()
    archive = tmp_path / "archive"
    taken = started(
        "snapshot", str(truth_process.pid), "--parquet", f"file://{archive}", "--service", "truth",
        "--every", "50ms", "--count", "3", "--batch", "2", XDG_STATE_HOME=str(tmp_path / "state"),
    )  # fmt: skip
    assert (taken.returncode, taken.stdout) == (0, "")
    assert "3 snapshots for file://" in taken.stderr
    assert "files delivered" in taken.stderr
    assert not list((tmp_path / "state").rglob("*.parquet"))
    sql = "SELECT sum(count) / count(DISTINCT snapshot_id) AS goroutines FROM groups"
    asked = started("fleet", str(archive), "--sql", sql, "--json")
    assert asked.stderr == ""
    assert json.loads(asked.stdout)["rows"] == [[truth.num_goroutine]]
