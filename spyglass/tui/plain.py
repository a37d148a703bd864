"""The view for those without a terminal: a frame of text for each tick, or a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from spyglass.analysis.counts import by_status
from spyglass.analysis.selection import selected
from spyglass.model import Frame
from spyglass.tui.group_rows import GroupRow
from spyglass.tui.header import header_lines
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.view_state import Model

__all__ = ["frame_lines", "json_line", "write_json_line"]


def frame_lines(model: Model, style: Style, limit: int | None, wanted_ns: int) -> Iterator[str]:
    """The header, and the first `limit` groups; an empty line at the end."""
    if model.snapshot is not None:
        yield f"taken {model.snapshot.taken_at.isoformat(timespec='milliseconds')}"
    yield from (line.plain for line in header_lines(model, style, wanted_ns=wanted_ns))
    groups = page(model, style)
    if groups.title is not None:
        yield groups.title.plain
    shown = len(groups) if limit is None else min(limit, len(groups))
    yield from (groups.line(number).plain for number in range(shown))
    if shown < len(groups):
        yield f"... and {len(groups) - shown:,} more groups"
    for words in (model.problem, model.ended):
        if words:
            yield f"! {style.text(words)}"
    yield ""


def write_json_line(model: Model, stream: BinaryIO, *, limit: int | None) -> None:
    """Write `json_line`, ended by a newline."""
    stream.write(json_line(model, limit).encode("ascii") + b"\n")


def json_line(model: Model, limit: int | None) -> str:
    """The same as one JSON object, in ASCII: figures, and the largest groups."""
    if model.snapshot is None or model.problem or model.ended:
        return json.dumps({"problem": model.problem, "ended": model.ended})
    snapshot, tick = model.snapshot, model.tick
    assert tick is not None
    memory, rows = snapshot.memory, selected(snapshot.goroutines, system=True)
    return json.dumps({
        "taken_at": snapshot.taken_at.isoformat(),
        "took_ns": tick.took_ns,
        "pid": snapshot.process.pid,
        "cpu_percent": None if tick.cpu_percent is None else round(tick.cpu_percent, 1),
        "rss_bytes": snapshot.process.rss_bytes,
        "threads": len(snapshot.threads),
        "gomaxprocs": snapshot.scheduler.gomaxprocs,
        "run_queue": snapshot.scheduler.run_queue,
        "goroutines": snapshot.scheduler.goroutines,
        "by_status": by_status(snapshot, rows),
        "heap_in_use_bytes": memory.heap_in_use_bytes,
        "heap_goal_bytes": memory.heap_goal_bytes,
        "gc_count": memory.gc_count,
        "last_gc_pause_ns": memory.last_gc_pause_ns,
        "problems": len(snapshot.problems),
        "group_count": len(model.rows),
        "groups": [_group(row) for row in model.rows[:limit]],
    })  # fmt: skip


def _group(row: GroupRow) -> dict[str, Any]:
    where, began = row.where
    return {
        "count": row.count,
        "change": row.change,
        "since_start": row.since,
        "growing": row.growing,
        "state": row.state,
        "longest_wait_ns": row.wait_ns,
        "where": None if began else _place(where),
        "start": _place(where) if began else None,
        "created_by": _place(row.creator),
    }


def _place(frame: Frame | None) -> dict[str, Any] | None:
    if frame is None:
        return None
    return {"function": frame.function, "file": frame.file, "line": frame.line}
