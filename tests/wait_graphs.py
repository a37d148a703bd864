"""Graphs of waits made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from spyglass.wait_graph import (
    KINDS,
    MODES,
    OPERATIONS,
    Connection,
    Holders,
    Stuck,
    Unresolved,
    WaitGraph,
    WaitObjects,
    Waits,
)

__all__ = ["graph"]


def graph(
    waits: Iterable[tuple[int, int]],
    holds: Iterable[tuple[int, int, int]] = (),
    kinds: Mapping[int, str] | None = None,
    stuck: Mapping[int, bool] | None = None,
    left: Iterable[int] = (),
    names: Mapping[int, str] | None = None,
) -> WaitGraph:
    """`waits`: (goid, object), `holds`: (goid, object, grade). Objects are mutexes unless `kinds` says
    otherwise; an fd has a peer."""
    names = names or {}
    named = tuple(names.values())
    waits, holds, stuck = list(waits), list(holds), dict(stuck or {})
    numbers = [number for _, number, *_ in [*waits, *holds]]
    found = [(kinds or {}).get(number, "mutex") for number in range(max(numbers, default=-1) + 1)]
    count = len(found)
    return WaitGraph(
        objects=WaitObjects.of(
            count,
            kind=np.array([KINDS.index(name) for name in found], np.uint8),
            address=np.arange(0x1000, 0x1000 + 16 * count, 16, dtype=np.uint64),
            connection=np.array([0 if name == "fd" else -1 for name in found], np.int32),
            name=np.array(
                [named.index(names[i]) if i in names else -1 for i in range(count)], np.int32
            ),
            left_locked=np.isin(np.arange(count), list(left)).astype(np.int8),
        ),
        waits=Waits.of(
            len(waits),
            goroutine=np.array([goid for goid, _ in waits], np.uint64),
            object=np.array([number for _, number in waits], np.int32),
            operation=np.array([_operation(found[number]) for _, number in waits], np.uint8),
        ),
        holders=Holders.of(
            len(holds),
            goroutine=np.array([goid for goid, _, _ in holds], np.uint64),
            object=np.array([number for _, number, _ in holds], np.int32),
            grade=np.array([grade for _, _, grade in holds], np.uint8),
            mode=np.full(len(holds), MODES.index("write"), np.uint8),
        ),
        unresolved=Unresolved.of(0),
        stuck=Stuck.of(
            len(stuck),
            goroutine=np.array(list(stuck), np.uint64),
            stuck=np.array(list(stuck.values()), np.bool_),
        ),
        names=named,
        connections=(Connection("socket:tcp", "127.0.0.1:80", "10.0.3.7:5432"),),
    )


def _operation(kind: str) -> int:
    return OPERATIONS.index({"fd": "read", "channel": "receive", "mutex": "lock"}.get(kind, "wait"))
