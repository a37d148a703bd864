"""Filter goroutines: by id, state, functions on their stacks, creator, labels, and waits.

Whatever many goroutines share (a function, a stack, a set of labels) is tested once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import STATUSES, Frame, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Filter", "matching"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions of a goroutine, all of which must hold; an empty one or None is none.

    `ids`: its id is one of them. `states`: its status, or what it waits for, is one of them, in any
    case. `function`: found in the name of a function on its stack; without a stack, of the one that
    it began in, waits in, or called there. `creator`: found in the name of the function that created it. `labels`: it has all of
    them. `min_wait_ns`: it is known to wait for at least so long.
    """

    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    function: re.Pattern[str] | None = None
    creator: re.Pattern[str] | None = None
    labels: tuple[tuple[str, str], ...] = ()
    min_wait_ns: int | None = None

    def __bool__(self) -> bool:
        return self != Filter()


def matching(snapshot: Snapshot, rows: NDArray[np.int64], wanted: Filter) -> NDArray[np.int64]:
    """Those of `rows` that are `wanted`."""
    for matches in _criteria(snapshot, wanted):
        rows = rows[matches[rows]]
    return rows


def _criteria(snapshot: Snapshot, wanted: Filter) -> Iterator[NDArray[np.bool_]]:
    """Which goroutines match each condition."""
    g = snapshot.goroutines
    if wanted.ids:
        yield np.isin(g.id, np.array(wanted.ids, np.uint64))
    if wanted.states:
        yield _in_states(snapshot, {state.casefold() for state in wanted.states})
    if wanted.function:
        yield _through(snapshot, _named(snapshot.frames, wanted.function))
    if wanted.creator:
        yield _at(_named(snapshot.frames, wanted.creator), g.creator)
    if wanted.labels:
        yield _at([_has(labels, wanted.labels) for labels in snapshot.label_sets], g.labels)
    if wanted.min_wait_ns is not None:
        yield g.waiting_ns >= wanted.min_wait_ns  # NONE is less than any


def _at(answers: Iterable[bool], indices: NDArray[Any]) -> NDArray[np.bool_]:
    """The answer at each index; no for `NONE` and `UNREAD`, which as indices count from the end."""
    found: NDArray[np.bool_] = np.array([*answers, False, False], np.bool_)[indices]
    return found


def _named(frames: tuple[Frame, ...], pattern: re.Pattern[str]) -> list[bool]:
    """For each frame, whether `pattern` is found in the name of its function."""
    known: dict[str, bool] = {}
    for name in {frame.function for frame in frames}:
        known[name] = pattern.search(name) is not None
    return [known[frame.function] for frame in frames]


def _in_states(snapshot: Snapshot, states: set[str]) -> NDArray[np.bool_]:
    g = snapshot.goroutines
    reasons = (reason.casefold() in states for reason in snapshot.wait_reasons)
    return _at((status in states for status in STATUSES), g.status) | _at(reasons, g.wait_reason)


def _through(snapshot: Snapshot, named: list[bool]) -> NDArray[np.bool_]:
    """Which goroutines have a frame that is `named`."""
    g = snapshot.goroutines
    before = np.concatenate([[0], np.cumsum(_at(named, snapshot.stack_frames))])
    stacks = np.diff(before[snapshot.stack_offsets]) > 0
    places = _at(named, g.start) | _at(named, g.where) | _at(named, g.call)
    return np.where(g.stack >= 0, _at(stacks, g.stack), places)


def _has(labels: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> bool:
    return all(labels.get(key) == value for key, value in wanted)
