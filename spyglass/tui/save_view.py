"""Save the shown snapshot in a file, as a snapshot or as a report."""

from __future__ import annotations

from pathlib import Path

from spyglass.export.snapshot_file import default_name, replacing, save
from spyglass.model import Snapshot
from spyglass.report.page import report

__all__ = ["save_report", "save_snapshot"]


def save_snapshot(snapshot: Snapshot, directory: Path) -> Path:
    """Save `snapshot` in `directory`; returns the file's path; raises `OSError`."""
    path = directory / default_name(snapshot)
    save(snapshot, path)
    return path


def save_report(snapshot: Snapshot, directory: Path) -> Path:
    """Write the report of `snapshot` in `directory`; returns the file's path; raises `OSError`."""
    path = directory / default_name(snapshot, ".html")
    with replacing(path) as stream:
        for piece in report(snapshot):
            stream.write(piece.encode())
    return path
