"""``spyglass memory --spans``, ``--types`` and ``--retain``: what is in the heap, and what keeps it alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.text import Text

from spyglass.escape import visible
from spyglass.heap_objects import Certainty, HeapSpans, HeapTypes, Retention, TypeRow
from spyglass.render.cropping import tail_in
from spyglass.render.process_sections import program_lines
from spyglass.render.retention_view import retention_lines
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.units import count, size

__all__ = ["render_objects"]

#: Lines of a terminal that are no rows: facts, title, remark, prompt.
_OTHER_LINES = 10
_KNOWN: dict[Certainty, str] = {
    "exact": "exact", "only candidate": "only one", "candidates": "several", "unknown": "no",
}  # fmt: skip


def render_objects(objects: HeapSpans | HeapTypes | Retention, view: View) -> Iterator[Text]:
    """The lines about spans, most unused bytes first, or types, most bytes first, or what keeps objects alive."""
    yield from program_lines(objects.process, view.width, verbose=view.verbose)
    if isinstance(objects, HeapSpans):
        yield from _span_lines(objects, view)
    elif isinstance(objects, Retention):
        yield from retention_lines(objects, view)
    else:
        yield from _type_lines(objects, view)


def _span_lines(spans: HeapSpans, view: View) -> Iterator[Text]:
    classes = spans.classes
    total, used = int(classes.span_bytes.sum()), int(classes.used_bytes.sum())
    facts = [
        fact("in spans", size(total), "bold"),
        fact("used", size(used)),
        fact("unused", _part(total - used, total)),
        fact("spans", count(int(classes.spans.sum()))),
        fact("objects", count(int(classes.objects.sum()))),
    ]
    yield from section("spans", facts, view.width)
    order = np.argsort(-classes.unused_bytes, kind="stable")
    shown = order[: view.rows_shown(_OTHER_LINES)].tolist()
    yield Text()
    yield from table(_span_columns(spans, shown), view.width, styled=view.styled)
    if left := len(order) - len(shown):
        yield Text(f"{count(left)} more, --all shows them", "dim")


def _span_columns(spans: HeapSpans, shown: list[int]) -> list[Column]:
    classes, unused = spans.classes, spans.classes.unused_bytes
    sizes, pointers = classes.object_bytes.tolist(), classes.pointers.tolist()
    return [
        Column("objects of", [size(sizes[row]) if sizes[row] else "large" for row in shown], right=True),
        Column("pointers", ["yes" if pointers[row] else "no" for row in shown]),
        Column("spans", [count(int(classes.spans[row])) for row in shown], right=True),
        Column("objects", [count(int(classes.objects[row])) for row in shown], right=True),
        Column("used", [size(int(classes.used_bytes[row])) for row in shown], right=True),
        Column("unused", [size(int(unused[row])) for row in shown], right=True),
        Column("of span", [_percent(int(unused[row]), int(classes.span_bytes[row])) for row in shown], right=True),
    ]  # fmt: skip


def _type_lines(types: HeapTypes, view: View) -> Iterator[Text]:
    total = types.total_bytes
    facts = [
        fact("objects", size(total), "bold"),
        fact("of known type", _part(types.covered_bytes, total)),
        fact("one of several", _part(_bytes_of(types, "candidates"), total)),
        fact("no pointers", _part(sum(row.bytes for row in types.rows if not row.pointers), total)),
    ]
    if types.examined_bytes < total:
        facts.append(fact("not examined", _part(total - types.examined_bytes, total), "yellow"))
    yield from section("types", facts, view.width)
    if types.why_not is not None:
        yield from section("", [Text(f"no types: {types.why_not}", "yellow")], view.width)
        return
    shown = types.rows[: view.rows_shown(_OTHER_LINES)]
    yield Text()
    yield from table(_type_columns(shown), view.width, styled=view.styled)
    if left := len(types.rows) - len(shown):
        yield Text(f"{count(left)} more, --all shows them", "dim")


def _type_columns(rows: Sequence[TypeRow]) -> list[Column]:
    return [
        Column("bytes", [size(row.bytes) for row in rows], right=True),
        Column("objects", [count(row.objects) for row in rows], right=True),
        Column("of", [size(row.object_bytes) if row.object_bytes else "" for row in rows], right=True),
        Column("known", [_KNOWN[row.certainty] for row in rows]),
        Column("type", [visible(_type(row)) for row in rows], weight=1, fit=tail_in),
    ]  # fmt: skip


def _type(row: TypeRow) -> str:
    if row.type is not None:
        return row.type
    if not row.pointers:
        return "no pointers: strings, bytes, numbers"
    if row.candidates:
        return "one of " + ", ".join(row.candidates)
    return f"one of {count(row.candidate_count)} types" if row.candidate_count else ""


def _bytes_of(types: HeapTypes, certainty: Certainty) -> int:
    return sum(row.bytes for row in types.rows if row.certainty == certainty)


def _part(part: int, whole: int) -> str:
    return f"{size(part)} ({_percent(part, whole)})"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
