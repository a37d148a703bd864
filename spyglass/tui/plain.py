"""The view without a terminal: a frame of text, or a line of JSON, for each tick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC
from typing import Any, BinaryIO

from rich.cells import cell_len

from spyglass.analysis.counts import by_status
from spyglass.analysis.findings import Finding
from spyglass.analysis.selection import selected
from spyglass.export.plain_values import plain
from spyglass.model import Frame, Snapshot
from spyglass.render.table_columns import Column
from spyglass.tui.feed import Tick
from spyglass.tui.findings_lines import findings_lines
from spyglass.tui.group_rows import GroupRow, functions_of
from spyglass.tui.header import header_lines
from spyglass.tui.layout import Style
from spyglass.tui.pages import Page, page
from spyglass.tui.row_pages import GroupsPage
from spyglass.tui.view_state import Model
from spyglass.version import __version__
from spyglass.words.population import Population
from spyglass.words.units import plural

__all__ = ["SCHEMA", "TextFrames", "json_line", "write_json_line"]

#: The name and version of a line of JSON, described in ``export/top.schema.json``. A new number: a
#: field changed its meaning.
SCHEMA = "spyglass.top/1"

#: A longer cell sticks out of its column rather than widen every row.
_WIDEST = 100
#: Columns whose cells change most are so wide from the first frame on.
_MIN_WIDTHS = {"count": 9, "change": 8, "since": 8, "state": 20, "cpu": 7}


class TextFrames:
    """Frames of text: the header, the first `limit` groups, and an empty line.

    The columns are as wide as their cells, and keep their widths from frame to frame; a longer cell in a
    later frame widens its column. `wanted_ns`: the interval that the user chose.
    """

    def __init__(self, style: Style, limit: int | None, wanted_ns: int) -> None:
        self._style = style
        self._limit = limit
        self._wanted_ns = wanted_ns
        self._widths = dict(_MIN_WIDTHS)

    def lines(self, model: Model) -> Iterator[str]:
        """The frame of the last event."""
        style = self._style
        if model.snapshot is not None:
            taken_at = model.snapshot.taken_at.astimezone(UTC).isoformat(timespec="milliseconds")
            yield f"taken {taken_at.replace('+00:00', 'Z')}"
            yield from (line.plain for line in findings_lines(model.findings, style))
        yield from (line.plain for line in header_lines(model, style, wanted_ns=self._wanted_ns))
        groups = page(model, style)
        shown = len(groups) if self._limit is None else min(self._limit, len(groups))
        groups.columns = self._fitted(groups, shown)
        if groups.title is not None:
            yield groups.title.plain
        yield from (groups.line(number).plain for number in range(shown))
        if shown < len(groups):
            yield f"... and {plural(len(groups) - shown, 'more group')}"
        for message in (model.problem, model.ended):
            if message:
                yield f"! {style.text(message)}"
        yield ""

    def _fitted(self, groups: Page, shown: int) -> list[Column]:
        """The columns of `groups`, wide enough for the first `shown` rows."""
        if not groups.columns:
            return []
        rows = [groups.cells(number) for number in range(shown)]
        columns = []
        for column in groups.columns:
            needed = [cell_len(row[column.name]()) for row in rows]
            widest = max([self._widths.get(column.name, 0), column.width, *needed])
            self._widths[column.name] = min(widest, _WIDEST)
            columns.append(replace(column, width=self._widths[column.name]))
        return columns


def write_json_line(model: Model, stream: BinaryIO, *, limit: int | None) -> None:
    """Write `json_line`, ended by a newline."""
    stream.write(json_line(model, limit).encode("ascii") + b"\n")


def json_line(model: Model, limit: int | None) -> str:
    """A line of JSON in ASCII: figures and the first `limit` groups, or why there are none."""
    document = {"schema": SCHEMA, "spyglass_version": __version__}
    if model.snapshot is None or model.tick is None or model.problem or model.ended:
        return json.dumps(document | {"problem": plain(model.problem), "ended": plain(model.ended)})
    figures = _figures(model.snapshot, model.tick)
    findings = [_finding(finding) for finding in model.findings]
    rows = GroupsPage(model, Style()).rows[:limit]
    groups = [_group(row) | _group_cpu(row, model) for row in rows]
    lists = {"findings": findings, "group_count": len(model.rows), "groups": groups}
    return json.dumps(document | figures | _sampled(model, limit) | lists)


def _finding(finding: Finding) -> dict[str, Any]:
    return {each.name: plain(getattr(finding, each.name)) for each in fields(finding)}


def _figures(snapshot: Snapshot, tick: Tick) -> dict[str, Any]:
    memory, rows = snapshot.memory, selected(snapshot.goroutines, system=True)
    population = Population.listed(snapshot)
    return {
        "taken_at": plain(snapshot.taken_at),
        "took_ns": tick.took_ns,
        "pid": snapshot.process.pid,
        "cpu_percent": None if tick.cpu_percent is None else round(tick.cpu_percent, 1),
        "rss_bytes": snapshot.process.rss_bytes,
        "threads": len(snapshot.threads),
        "gomaxprocs": snapshot.scheduler.gomaxprocs,
        "run_queue": snapshot.scheduler.run_queue,
        "goroutines": population.user,
        "system_goroutines": population.system,
        "by_status": by_status(snapshot, rows),
        "heap_in_use_bytes": memory.heap_in_use_bytes,
        "heap_goal_bytes": memory.heap_goal_bytes,
        "gc_count": memory.gc_count,
        "last_gc_pause_ns": memory.last_gc_pause_ns,
        "problems": len(snapshot.problems),
    }


def _sampled(model: Model, limit: int | None) -> dict[str, Any]:
    """Where the processor time of the last seconds went, if it is sampled."""
    sampled, times = model.sampled, model.goroutine_times
    if sampled is None:
        return {}
    if times is None:
        return {"sampled": {"refused": plain(sampled.refused)}}
    percent = sampled.percent
    outside = {
        words.replace(" ", "_"): round(percent(time_ns), 2)
        for words, time_ns in model.outside_groups(times).items()
    }
    functions = [
        {
            "function": plain(each.name),
            "self_percent": round(percent(each.self_ns), 2),
            "total_percent": round(percent(each.total_ns), 2),
        }
        for each in model.functions[:limit]
    ]
    return {
        "sampled": {
            "refused": plain(sampled.refused),
            "window_ns": sampled.window_ns,
            "rate_hz": sampled.parts[-1].rate_hz,
            "used_percent": round(percent(sampled.used_ns), 2),
            "sampled_percent": round(percent(sampled.sampled_ns), 2),
            "lost": sampled.lost,
            "goroutine_known": sampled.known,
            "outside_groups": outside,
            "functions": functions,
        }
    }


def _group_cpu(row: GroupRow, model: Model) -> dict[str, Any]:
    if model.sampled is None:
        return {}
    return {"cpu_percent": None if row.cpu_percent is None else round(row.cpu_percent, 2)}


def _group(row: GroupRow) -> dict[str, Any]:
    where, is_start = row.where
    return {
        "count": row.count,
        "change": row.change,
        "since_start": row.since,
        "growing": row.growing,
        "state": plain(row.state),
        "longest_wait_ns": row.wait_ns,
        "seen_waiting_ns": row.seen_waiting_ns,
        "states": {plain(state): number for state, number in row.states.items()},
        "functions": len(functions_of(row.lines)),
        "calls": len(row.calls),
        "creators": len(functions_of(row.creators)),
        "where": None if is_start else _place(where),
        "call": _place(row.call),
        "start": _place(where) if is_start else None,
        "created_by": _place(row.creator),
    }


def _place(frame: Frame | None) -> dict[str, Any] | None:
    if frame is None:
        return None
    return {"function": plain(frame.function), "file": plain(frame.file), "line": frame.line}
