"""What changed between snapshots, as JSON: ``spyglass.diff/1``, see ``diff.schema.json``."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from spyglass.analysis.metric_changes import (
    Changes,
    memory_changes,
    resident_changes,
    scheduler_changes,
    thread_changes,
)
from spyglass.analysis.shown_frames import shown_frames
from spyglass.analysis.snapshot_diff import Difference, Growth
from spyglass.export.plain_values import plain
from spyglass.model import NONE, Snapshot
from spyglass.version import __version__

__all__ = ["SCHEMA", "difference_document", "write_difference"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.diff/1"

Document = dict[str, Any]


def write_difference(found: Difference, stream: BinaryIO) -> None:
    """Write `found` as a document on one line of ASCII, which does no harm to a terminal."""
    text = json.dumps(difference_document(found), separators=(",", ":"))
    stream.write(text.encode("ascii") + b"\n")


def difference_document(found: Difference) -> Document:
    """All of `found` in values that JSON knows."""
    first, last = found.first, found.last
    change = found.counts[-1] - found.counts[0]
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "snapshots": [
            _snapshot(each, number)
            for each, number in zip(found.snapshots, found.counts, strict=True)
        ],
        "elapsed_ns": found.elapsed_ns,
        "doubts": [plain(doubt) for doubt in found.caveats],
        "goroutines": {
            "counts": list(found.counts),
            "difference": change,
            "per_minute": found.per_minute(change),
            "born": _ids(last, found.created),
            "gone": _ids(first, found.exited),
            "stuck": _stuck(found),
        },
        "by_creator": [_creator(found, each) for each in found.by_creator],
        "by_stack": [_stack(found, each) for each in found.by_stack],
        "scheduler": _changes(scheduler_changes(first, last)),
        "threads": _changes(thread_changes(first, last)),
        "memory": _changes(memory_changes(first, last)),
        "resident": _changes(resident_changes(first, last)),
    }


def _snapshot(snapshot: Snapshot, goroutines: int) -> Document:
    process = snapshot.process
    return {
        "file": plain(snapshot.file),
        "taken_at": plain(snapshot.taken_at),
        "host": plain(snapshot.host),
        "pid": process.pid,
        "exe": plain(process.exe),
        "module": plain(process.module),
        "build_id": plain(process.build_id),
        "started_at": plain(process.started_at),
        "goroutines": goroutines,
    }


def _ids(snapshot: Snapshot, rows: Any) -> list[int] | None:
    return None if rows is None else snapshot.goroutines.id[rows].tolist()


def _stuck(found: Difference) -> list[Document] | None:
    if found.stuck is None or found.stuck_ns is None or found.stuck_in is None:
        return None
    columns = found.last.goroutines.id[found.stuck], found.stuck_ns, found.stuck_in
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [{"id": goid, "stuck_ns": ns, "by_stack": at} for goid, ns, at in rows]


def _growth(found: Difference, growth: Growth) -> Document:
    return {
        "counts": list(growth.counts),
        "difference": growth.difference,
        "per_minute": found.per_minute(growth.difference),
        "born": growth.created,
        "gone": growth.exited,
        "stuck": growth.stuck,
        "longest_stuck_ns": growth.longest_stuck_ns,
        "never_woken": growth.never,
    }


def _creator(found: Difference, growth: Growth) -> Document:
    creator = int(growth.snapshot.goroutines.creator[growth.row])
    return _growth(found, growth) | {"created_by": _place(growth.snapshot, creator)}


def _stack(found: Difference, growth: Growth) -> Document:
    snapshot, g = growth.snapshot, growth.snapshot.goroutines
    stack = int(g.stack[growth.row])
    shown = [] if stack == NONE else shown_frames(snapshot, stack)
    return _growth(found, growth) | {
        "where": _place(snapshot, int(g.where[growth.row])),
        "call": _place(snapshot, int(g.call[growth.row])),
        "start": _place(snapshot, int(g.start[growth.row])),
        "stack": [_place(snapshot, frame) for frame in shown if frame != NONE] or None,
    }


def _place(snapshot: Snapshot, index: int) -> Document | None:
    frame = snapshot.frame(index)
    if frame is None:
        return None
    return {"function": plain(frame.function), "file": plain(frame.file), "line": frame.line}


def _changes(changes: Changes) -> Document:
    return {
        plain(name): {"before": plain(before), "after": plain(after)}
        for name, (before, after) in changes.items()
    }
