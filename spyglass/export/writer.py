"""A snapshot written as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from spyglass.export.document import goroutine_rows, header
from spyglass.model import Snapshot

__all__ = ["write_json"]


def write_json(snapshot: Snapshot, stream: TextIO) -> None:
    """Write ``document(snapshot)`` on one line of ASCII, which does no harm to a terminal either."""
    for piece in _pieces(snapshot):
        stream.write(piece)
    stream.write("\n")


def _pieces(snapshot: Snapshot) -> Iterator[str]:
    """The text in pieces: there may be a gigabyte of it."""
    before = "{"
    for name, value in header(snapshot).items():
        yield f"{before}{_compact(name)}:"
        yield from _goroutines(snapshot) if name == "goroutines" else [_compact(value)]
        before = ","
    yield "}"


def _goroutines(snapshot: Snapshot) -> Iterator[str]:
    before = "["
    for names, rows in goroutine_rows(snapshot, encode=_compact):
        template = "{" + ",".join(f"{_compact(name)}:%s" for name in names) + "}"
        yield before + ",".join(template % row for row in rows)
        before = ","
    yield "[]" if before == "[" else "]"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
