"""Graphs of waits made of rows, for tests of what is made out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spyglass.model import NONE, Frame
from spyglass.wait_graph import (
    KINDS,
    MODES,
    OPERATIONS,
    UNRESOLVED,
    Connection,
    Holders,
    LookedAt,
    Stuck,
    Unresolved,
    WaitGraph,
    WaitObjects,
    Waits,
)

__all__ = ["Held", "Thing", "make_graph"]


@dataclass(frozen=True)
class Held:
    """A holder of a `Thing`."""

    goroutine: int
    mode: str = "write"
    grade: int = 1
    frame: Frame | None = None


@dataclass(frozen=True)
class Thing:
    """An object, who waits on it (goroutine and operation), and who holds it; `state`: its other columns."""

    kind: str
    waiters: Sequence[tuple[int, str]] = ()
    holders: Sequence[Held] = ()
    name: str | None = None
    type: str | None = None
    connection: Connection | None = None
    state: dict[str, int] = field(default_factory=dict)


def make_graph(
    things: Sequence[Thing],
    *,
    stuck: Sequence[int] = (),
    alive: Sequence[int] = (),
    unresolved: Sequence[tuple[int, str]] = (),
    looked_at: LookedAt = LookedAt(),  # noqa: B008
) -> WaitGraph:
    """The graph of `things`."""
    names = list(dict.fromkeys(text for each in things for text in (each.name, each.type) if text))
    connections = list(dict.fromkeys(each.connection for each in things if each.connection))
    frames = list(dict.fromkeys(h.frame for each in things for h in each.holders if h.frame))
    objects: Any = WaitObjects.of(len(things))
    for row, each in enumerate(things):
        objects.kind[row] = KINDS.index(each.kind)
        objects.name[row] = names.index(each.name) if each.name else NONE
        objects.type[row] = names.index(each.type) if each.type else NONE
        objects.connection[row] = connections.index(each.connection) if each.connection else NONE
        for column, value in each.state.items():
            getattr(objects, column)[row] = value
    waits = [(g, row, OPERATIONS.index(o)) for row, t in enumerate(things) for g, o in t.waiters]
    held = [
        (row, h.goroutine, MODES.index(h.mode), h.grade, frames.index(h.frame) if h.frame else NONE)
        for row, thing in enumerate(things)
        for h in thing.holders
    ]
    return WaitGraph(
        objects=objects,
        waits=_columns(Waits, waits),
        holders=_columns(Holders, held),
        unresolved=_columns(Unresolved, [(g, UNRESOLVED.index(why)) for g, why in unresolved]),
        stuck=_columns(Stuck, [*((g, 1) for g in stuck), *((g, 0) for g in alive)]),
        looked_at=looked_at,
        names=tuple(names),
        connections=tuple(connections),
        frames=tuple(frames),
    )


def _columns(kind: Any, rows: Sequence[tuple[int, ...]]) -> Any:
    columns = zip(*rows, strict=True) if rows else [()] * len(kind.columns())
    return kind(
        **{
            name: np.array(values, column.dtype)
            for (name, column), values in zip(kind.columns().items(), columns, strict=True)
        }
    )
