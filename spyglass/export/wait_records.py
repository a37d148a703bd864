"""Objects that goroutines wait on as records of documents, of which a million share a few texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.wait_index import Rows
from spyglass.export.plain_values import plain, record
from spyglass.wait_graph import (
    EVIDENCE,
    KINDS,
    MODES,
    OPERATIONS,
    UNKNOWN,
    UNRESOLVED,
    Connection,
    WaitGraph,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OWN", "known_only", "object_rows", "summary", "waiters_of"]

Record = dict[str, Any]

#: What is each object's own in its record; the rest many have in common.
OWN = ("address", "holders")
_SHARED = (
    "kind", "name", "type", "length", "capacity", "closed", "locked", "readers", "waiters_state", "counter", "fd",
    "connection", "deadline_in_ns", "due_in_ns", "left_locked",
)  # fmt: skip
_FLAGS = ("closed", "locked", "left_locked")
_COUNTS = ("length", "capacity", "readers", "waiters_state")
_NUMBERS = ("counter", "deadline_in_ns", "due_in_ns")
_NO_CONNECTION: Record = dict.fromkeys(
    ("target", "local", "remote", "connection", "receive_queue_bytes", "send_queue_bytes")
)

#: Objects made into records at a time.
_BATCH_ROWS = 16384
#: How many combinations of what objects have in common are kept.
_SHARED_KEPT = 65536


def object_rows(
    graph: WaitGraph,
    rows: Iterable[int],
    encode: Callable[[Any], Any],
    encode_shared: Callable[[Record], Any],
) -> Iterator[tuple[Any, Any, Any]]:
    """Each of `rows` of the graph's objects: what `OWN` names, and the rest of its record, encoded.

    `encode` is applied to holders, `encode_shared` to what many objects share. Addresses are text or None.
    """
    objects, held = graph.objects, Rows(graph.holders.object)
    shared = lru_cache(_SHARED_KEPT)(lambda values: encode_shared(_shared(graph, values)))
    no_holders, has_holders = encode([]), set(graph.holders.object.tolist())
    rows = list(rows)
    for first in range(0, len(rows), _BATCH_ROWS):
        batch = rows[first : first + _BATCH_ROWS]
        columns = (getattr(objects, name)[batch].tolist() for name in _SHARED)
        addresses = objects.address[batch].tolist()
        for row, address, values in zip(batch, addresses, zip(*columns, strict=True), strict=True):
            holders = (
                encode(holder_records(graph, held.of(row))) if row in has_holders else no_holders
            )
            yield hex(address) if address else None, holders, shared(values)


def waiters_of(graph: WaitGraph) -> Iterator[dict[str, list[int]]]:
    """Who waits for each object (goids), by the operation, in the order of its queue."""
    waits, rows = graph.waits, Rows(graph.waits.object)
    goroutines, operations = waits.goroutine[rows.order], waits.operation[rows.order].tolist()
    ids = goroutines.tolist()
    begins, ends = rows.bounds(np.arange(len(graph.objects), dtype=waits.object.dtype))
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if end - begin == 1:
            yield {OPERATIONS[operations[begin]]: [ids[begin]]}
            continue
        found: dict[str, list[int]] = {}
        for operation, goroutine in zip(operations[begin:end], ids[begin:end], strict=True):
            found.setdefault(OPERATIONS[operation], []).append(goroutine)
        yield found


def summary(graph: WaitGraph) -> Record:
    """What is known beside objects and who waits on them: what was looked at, and who is stuck."""
    stuck, unresolved = graph.stuck, graph.unresolved
    return {
        "looked_at": record(graph.looked_at),
        "unresolved": [
            {"goroutine": goroutine, "why": UNRESOLVED[why]}
            for goroutine, why in zip(
                unresolved.goroutine.tolist(), unresolved.why.tolist(), strict=True
            )
        ],
        "stuck": stuck.goroutine[stuck.stuck].tolist(),
        "not_stuck": stuck.goroutine[~stuck.stuck].tolist(),
    }


def holder_records(graph: WaitGraph, rows: Iterable[int]) -> list[Record]:
    """The records of `rows` of the graph's holders."""
    return [_holder(graph, row) for row in rows]


def known_only(values: Record) -> Record:
    """`values` without those that are null."""
    return {name: value for name, value in values.items() if value is not None}


def _holder(graph: WaitGraph, row: int) -> Record:
    holders = graph.holders
    frame = int(holders.frame[row])
    return {
        "goroutine": int(holders.goroutine[row]),
        "mode": MODES[holders.mode[row]],
        "grade": int(holders.grade[row]),
        "evidence": EVIDENCE[holders.grade[row]],
        "frame": record(graph.frames[frame]) if frame >= 0 else None,
    }


def _shared(graph: WaitGraph, values: tuple[int, ...]) -> Record:
    """The part of an object's record that others may have too, from its columns `_SHARED`."""
    of = dict(zip(_SHARED, values, strict=True))
    connection = graph.connections[of["connection"]] if of["connection"] >= 0 else None
    return {
        "kind": KINDS[of["kind"]],
        "name": plain(graph.names[of["name"]]) if of["name"] >= 0 else None,
        "type": plain(graph.names[of["type"]]) if of["type"] >= 0 else None,
        "fd": of["fd"] if of["fd"] >= 0 else None,
        **{name: of[name] if of[name] >= 0 else None for name in _COUNTS},
        **{name: None if of[name] == UNKNOWN else of[name] for name in _NUMBERS},
        **{name: bool(of[name]) if of[name] >= 0 else None for name in _FLAGS},
        **(_NO_CONNECTION if connection is None else _connection(connection)),
    }


def _connection(known: Connection) -> Record:
    found = record(known)
    found["connection"] = found.pop("state")
    return found
