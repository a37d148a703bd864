"""Files that fit the schema and say what no process would: every view shows them, and none fails."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from spyglass.analysis.group_by import groups_by
from spyglass.analysis.redaction import redacted
from spyglass.analysis.selection import selected
from spyglass.analysis.snapshot_diff import difference
from spyglass.errors import BadDataError
from spyglass.export import document
from spyglass.export.diff_document import difference_document
from spyglass.export.snapshot_reader import snapshot_of
from spyglass.model import Snapshot
from spyglass.render import diff_view, summary_view
from spyglass.render.group_blocks import group_lines
from spyglass.render.traceback import traceback
from spyglass.render.view_options import View
from spyglass.words.account import account
from tests.mutants import BASE, JUNK, changed, paths

EXTREMES: list[Any] = [
    1e11, [0] * 50, [1, 1, 1], {"a": "b"}, "waiting", "dead", "leaked", "running", "unreadable",
    "\x1b[31m", "main.f\n", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
]  # fmt: skip

VIEWS = [
    View(),
    View(width=80, height=24, styled=True),
    View(width=20, height=5, listed=True, everything=True, system=True, debug=True),
]


def read(made: Any) -> Snapshot:
    return snapshot_of(json.dumps(made).encode())


WHOLE = read(BASE)


def accepted(section: str) -> Iterator[Snapshot]:
    """What is read of documents with something else in `section`; once, of several that are read as the same."""
    known = set()
    for path in paths(BASE):
        if path[:1] == (section,):
            for value in [*JUNK, *EXTREMES]:
                try:
                    snapshot = read(changed(BASE, path, value))
                except BadDataError:
                    continue
                same = pickle.dumps(snapshot)
                if same not in known:
                    known.add(same)
                    yield snapshot


def show_all(snapshot: Snapshot) -> Iterator[str]:
    """What every command would show of it, alone and compared with another."""
    rows = selected(snapshot.goroutines, system=True)
    yield account(snapshot, rows)
    for runtime_frames in (False, True):
        yield from traceback(snapshot, rows, runtime_frames=runtime_frames)
    for view in VIEWS:
        yield from (line.plain for line in summary_view.render(snapshot, view))
    for by in ("stack", "function", "creator", "state", "label:tenant"):
        found = groups_by(snapshot, rows, by)
        yield from (line.plain for line in group_lines(snapshot, found, by, width=60))
    for series in ([WHOLE, snapshot], [snapshot, WHOLE, snapshot]):
        compared = difference(series, system=True)
        for view in VIEWS:
            yield from (line.plain for line in diff_view.render(compared, view))
        yield json.dumps(difference_document(compared), allow_nan=False)
    yield json.dumps([document(snapshot), document(redacted(snapshot))], allow_nan=False)


@pytest.mark.parametrize("section", BASE)
@pytest.mark.slow
def test_whatever_is_accepted_can_be_shown(section: str) -> None:
    for snapshot in accepted(section):
        for text in show_all(snapshot):
            assert all(line.replace("\t", "").isprintable() for line in text.split("\n"))
