"""A snapshot as a document of plain values: ``spyglass.snapshot/1``, see ``snapshot.schema.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from spyglass.analysis.findings import written_findings
from spyglass.analysis.selection import selected
from spyglass.export.account_records import account_record
from spyglass.export.limit_records import limit_record
from spyglass.export.plain_values import plain, record
from spyglass.export.wait_records import OWN as OBJECT_OWN
from spyglass.export.wait_records import known_only, object_rows, summary, waiters_of
from spyglass.model import QUALITIES, STATUSES, UNREAD, CpuUse, Snapshot
from spyglass.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory_limits import MemoryLimits
    from spyglass.scheduler_window import SchedulerWindow
    from spyglass.wait_graph import WaitGraph

__all__ = ["OWN", "SCHEMA", "document", "goroutine_rows", "header", "stack_batches"]

#: The name and version of what `document` makes. A new number: something lost its meaning.
SCHEMA = "spyglass.snapshot/1"

#: What is each goroutine's own in its document; the rest many have in common.
OWN = ("id", "waiting_ns", "stack", "m", "labels")
_SHARED = (
    "status", "wait_reason", "printed_ns", "where", "call", "start", "creator", "creator_id", "locked", "system",
    "quality",
)  # fmt: skip

#: Goroutines, and stacks, made into documents at a time, so that a million of them need no gigabytes.
_BATCH_ROWS = 16384
#: How many combinations of what goroutines have in common are kept.
_SHARED_KEPT = 65536

Document = dict[str, Any]


def document(snapshot: Snapshot) -> Document:
    """All of `snapshot` in values that JSON knows; dead goroutines are left out."""
    goroutines = [
        dict(zip(OWN, own, strict=True)) | shared
        for *own, shared in goroutine_rows(snapshot, _unchanged, _unchanged)
    ]
    stacks = [stack for some in stack_batches(snapshot) for stack in some]
    return header(snapshot) | {"goroutines": goroutines, "stacks": stacks} | _waits(snapshot.waits)


def header(snapshot: Snapshot) -> Document:
    """The document with its lists of goroutines, stacks, and what goroutines wait on left empty."""
    waits = snapshot.waits
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "taken_at": plain(snapshot.taken_at),
        "took_ns": snapshot.took_ns,
        "timings_ns": snapshot.timings_ns,
        "source": record(snapshot.source),
        "host": plain(snapshot.host),
        "redacted": snapshot.redacted,
        "process": record(snapshot.process),
        "scheduler": record(snapshot.scheduler),
        "processors": [record(processor) for processor in snapshot.processors],
        "threads": [record(thread) for thread in snapshot.threads],
        "memory": record(snapshot.memory),
        "cpu": None if snapshot.cpu is None else _cpu(snapshot.cpu),
        **({} if snapshot.limits is None else {"memory_limits": _limits(snapshot.limits)}),
        **(
            {} if snapshot.account is None else {"memory_account": account_record(snapshot.account)}
        ),
        **({} if snapshot.window is None else {"window": _window(snapshot.window)}),
        "findings": [record(finding) for finding in written_findings(snapshot)],
        "chosen_from": snapshot.matched_of,
        "chosen_from_system": None if snapshot.matched_of is None else snapshot.matched_of_system,
        "goroutines": [],
        "stacks": [],
        "elided": [
            {"stack": stack, "after": after, "frames": frames}
            for stack, (after, frames) in sorted(snapshot.elided.items())
        ],
        "frames": [record(frame) for frame in snapshot.frames],
        "problems": [record(problem) for problem in snapshot.problems],
        **({} if waits is None else {"waits": summary(waits), "wait_objects": []}),
    }


def _waits(graph: WaitGraph | None) -> Document:
    if graph is None:
        return {}
    rows = object_rows(graph, range(len(graph.objects)), _unchanged, known_only)
    objects = [
        dict(zip(OBJECT_OWN, own, strict=True)) | {"waiters": waiters} | shared
        for (*own, shared), waiters in zip(rows, waiters_of(graph), strict=True)
    ]
    return {"wait_objects": objects}


def goroutine_rows(
    snapshot: Snapshot, encode: Callable[[Any], Any], encode_shared: Callable[[Document], Any]
) -> Iterator[tuple[Any, Any, Any, Any, Any, Any]]:
    """Each goroutine that is not dead: what `OWN` names, and the rest of its document, encoded.

    `encode` is applied to labels (texts by name) and to null, `encode_shared` to what many goroutines
    share. A million of them share a few hundred states and places, so these are encoded as text a few
    hundred times; labels, which a request may have for itself, are encoded apart from them.
    """
    g = snapshot.goroutines
    rows = selected(g, system=True)
    shared = lru_cache(_SHARED_KEPT)(lambda indices: encode_shared(_shared(snapshot, indices)))
    labels = lru_cache(_SHARED_KEPT)(lambda index: encode(_labels(snapshot, index)))
    for first in range(0, len(rows), _BATCH_ROWS):
        batch = rows[first : first + _BATCH_ROWS]
        own = (_numbers(column[batch], encode(None)) for column in (g.waiting_ns, g.stack, g.m))
        indices = zip(*(getattr(g, name)[batch].tolist() for name in _SHARED), strict=True)
        of_labels = map(labels, g.labels[batch].tolist())
        yield from zip(g.id[batch].tolist(), *own, of_labels, map(shared, indices), strict=True)


def stack_batches(snapshot: Snapshot) -> Iterator[list[list[int]]]:
    """The stacks, some thousands at a time."""
    offsets = snapshot.stack_offsets
    for first in range(0, len(offsets) - 1, _BATCH_ROWS):
        some = offsets[first : first + _BATCH_ROWS + 1].tolist()
        frames = snapshot.stack_frames[some[0] : some[-1]].tolist()
        yield [frames[low - some[0] : high - some[0]] for low, high in pairwise(some)]


def _unchanged(value: Any) -> Any:
    return value


def _numbers(column: NDArray[Any], none: Any) -> list[Any]:
    return [number if number >= 0 else none for number in column.tolist()]


def _shared(snapshot: Snapshot, indices: tuple[int, ...]) -> Document:
    """The part of a goroutine's document that others may have too, from its columns `_SHARED`."""
    status, reason, printed_ns, where, call, start, creator, creator_id, *flags = indices
    locked, system, quality = flags
    return {
        "status": STATUSES[status],
        "wait_reason": plain(snapshot.wait_reasons[reason]) if reason >= 0 else None,
        "printed_ns": printed_ns if printed_ns >= 0 else None,
        "where": _place(snapshot, where),
        "call": _place(snapshot, call),
        "start": _place(snapshot, start),
        "created_by": _creator(snapshot, creator, creator_id),
        "locked_to_thread": bool(locked),
        "system": bool(system),
        "quality": QUALITIES[quality],
    }


def _creator(snapshot: Snapshot, index: int, goroutine: int) -> Document | None:
    place = _place(snapshot, index)
    return place and place | {"goroutine": goroutine if goroutine >= 0 else None}


def _labels(snapshot: Snapshot, labels: int) -> Document | None:
    if labels < 0:
        return None if labels == UNREAD else {}
    found = snapshot.label_sets[labels]
    if "".join((*found, *found.values())).isascii():
        return dict(found)  # nothing in it that JSON does not know
    return {plain(key): plain(value) for key, value in found.items()}


def _place(snapshot: Snapshot, index: int) -> Document | None:
    frame = snapshot.frame(index)
    if frame is None:
        return None
    file = plain(frame.file)
    return {"function": plain(frame.function), "file": file, "line": frame.line, "frame": index}


def _limits(limits: MemoryLimits) -> Document:
    return {
        "rows": [limit_record(row) for row in limits.rows],
        "pressure": [record(each) for each in limits.pressure],
        "swap_free_bytes": limits.swap_free_bytes,
        "oom_score_adj": limits.oom_score_adj,
    }


def _window(window: SchedulerWindow) -> Document:
    return record(window) | {
        "processors": [record(each) for each in window.processors],
        "calls": [record(each) for each in window.calls],
    }


def _cpu(use: CpuUse) -> Document:
    throttling = use.throttling and record(use.throttling)
    return record(use) | {
        "throttling": throttling,
        "samples": [record(sample) for sample in use.samples],
    }
