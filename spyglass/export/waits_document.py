"""What goroutines wait on as JSON: ``spyglass.waits/1``, see ``waits.schema.json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from spyglass.analysis.wait_index import Rows
from spyglass.analysis.wait_reasons import reasons
from spyglass.analysis.wait_verdicts import VERDICTS
from spyglass.columns import among
from spyglass.export.json_text import (
    compact,
    compact_rest,
    joined,
    numbers_text,
    object_text,
    quoted,
    record_template,
)
from spyglass.export.plain_values import plain, record
from spyglass.export.wait_records import OWN, object_rows
from spyglass.model import NONE, STATUSES
from spyglass.version import __version__
from spyglass.wait_graph import OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_view import WaitView

__all__ = ["SCHEMA", "write_waits"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.waits/1"

#: Goroutines made into text at a time.
_BATCH_ROWS = 16384
_STUCK = {1: "true", 0: "false"}


def write_waits(view: WaitView, stream: BinaryIO) -> None:
    """Write `view` as a document on one line of ASCII, which does no harm to a terminal."""
    lists = {"objects": _objects(view), "goroutines": _goroutines(view)}
    for piece in object_text(_header(view), lists):
        stream.write(piece.encode("ascii"))
    stream.write(b"\n")


def _header(view: WaitView) -> dict[str, Any]:
    snapshot = view.snapshot
    return {
        "schema": SCHEMA,
        "spyglass": __version__,
        "spyglass_version": __version__,
        "taken_at": plain(snapshot.taken_at),
        "took_ns": snapshot.took_ns,
        "process": record(snapshot.process),
        "source": record(snapshot.source),
        "host": plain(snapshot.host),
        "redacted": snapshot.redacted,
        "objects": [],
        "goroutines": [],
        "deadlocks": [
            {"goroutines": list(circle.goroutines), "objects": list(circle.objects)}
            for circle in view.known.deadlocks
            if among(view.goroutines, np.array(circle.goroutines, np.uint64)).any()
        ],
        "findings": [record(finding) for finding in view.findings],
        "looked_at": record(view.graph.looked_at),
        "problems": [record(problem) for problem in snapshot.problems],
    }


def _objects(view: WaitView) -> Iterator[str]:
    graph, waits = view.graph, view.graph.waits
    template = record_template(("id", "waiters", *OWN))
    waiters = Rows(waits.object)
    ids = waits.goroutine[waiters.order].tolist()
    begins, ends = waiters.bounds(view.objects.astype(waits.object.dtype))
    rows = object_rows(graph, view.objects.tolist(), compact, compact_rest)
    parts = zip(view.objects.tolist(), begins.tolist(), ends.tolist(), rows, strict=True)
    return joined(
        template % (number, numbers_text(ids[begin:end]), quoted(address), *rest)
        for number, begin, end, (address, *rest) in parts
    )


def _goroutines(view: WaitView) -> Iterator[str]:
    """Every goroutine that waits, and every holder."""
    for first in range(0, len(view.goroutines), _BATCH_ROWS):
        if first:
            yield ","
        yield from joined(_goroutine_texts(view, view.goroutines[first : first + _BATCH_ROWS]))


def _goroutine_texts(view: WaitView, ids: NDArray[np.uint64]) -> Iterator[str]:
    known = view.known
    rows = known.rows_of(ids)
    columns = zip(
        ids.tolist(), _states(view, ids), _waits_on(view, ids),
        known.verdict[rows].tolist(), known.stuck[rows].tolist(), known.behind[rows].tolist(), reasons(known, rows),
        strict=True,
    )  # fmt: skip
    for goid, state, waits_on, verdict, stuck, behind, why in columns:
        yield (
            f'{{"id":{goid},{state},"waits_on":[{waits_on}],"verdict":"{VERDICTS[verdict]}",'
            f'"stuck":{_STUCK.get(stuck, "null")},"behind":{behind if behind != NONE else "null"},'
            f'"because":{compact(plain(why))}}}'
        )


def _states(view: WaitView, ids: NDArray[np.uint64]) -> Iterator[str]:
    """The state of each goroutine: members of its record."""
    snapshot = view.snapshot
    g, reasons = snapshot.goroutines, [*map(compact, map(plain, snapshot.wait_reasons)), "null"]
    statuses = [*map(compact, STATUSES), "null"]
    for row in view.rows(ids).tolist():
        if row == NONE:
            yield '"state":null,"wait_reason":null,"waiting_ns":null,"system":null'
            continue
        waiting_ns = int(g.waiting_ns[row])
        yield (
            f'"state":{statuses[g.status[row]]},"wait_reason":{reasons[g.wait_reason[row]]},'
            f'"waiting_ns":{waiting_ns if waiting_ns != NONE else "null"},'
            f'"system":{"true" if g.system[row] else "false"}'
        )


def _waits_on(view: WaitView, ids: NDArray[np.uint64]) -> Iterator[str]:
    """The elements of ``waits_on`` of each goroutine."""
    waits, of = view.graph.waits, view.index.waits_of
    begins, ends = of.bounds(ids)
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        yield ",".join(
            f'{{"object":{waits.object[row]},"operation":"{OPERATIONS[waits.operation[row]]}"}}'
            for row in of.order[begin:end].tolist()
        )
