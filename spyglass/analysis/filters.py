"""Filter goroutines: by id, state, functions on their stacks, creator, labels, and waits.

What many goroutines share (a function, a stack, a set of labels) is tested once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import STATUSES, Frame, Snapshot
from spyglass.words.states import state_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Filter", "criteria", "matching"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions of a goroutine, which are ANDed; an empty one or None is no condition.

    `ids`: its id is one of them. `states`: one of them is a part of its status, or of its state as views
    show it, without case: "mutex" matches sync.Mutex.Lock and sync.RWMutex.Lock. `function`: found in the name
    of a function on its stack; without a stack, of the one that it began in, waits in, or called
    there. `creator`: found in the name of the function that created it. `labels`: it has all of them.
    `min_wait_ns`: it is known to wait for at least this time.
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
    for _, matches in criteria(snapshot, wanted):
        rows = rows[matches[rows]]
    return rows


def criteria(snapshot: Snapshot, wanted: Filter) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each condition of `wanted`: the name of its field, and a mask of the goroutines that match."""
    g = snapshot.goroutines
    if wanted.ids:
        yield "ids", np.isin(g.id, np.array(wanted.ids, np.uint64))
    if wanted.states:
        yield "states", _in_states(snapshot, [state.casefold() for state in wanted.states])
    if wanted.function:
        yield "function", _through(snapshot, _named(snapshot.frames, wanted.function))
    if wanted.creator:
        yield "creator", _at(_named(snapshot.frames, wanted.creator), g.creator)
    if wanted.labels:
        matches = [_has(labels, wanted.labels) for labels in snapshot.label_sets]
        yield "labels", _at(matches, g.labels)
    if wanted.min_wait_ns is not None:
        yield "min_wait_ns", g.waiting_ns >= wanted.min_wait_ns  # NONE is less than any


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


def _in_states(snapshot: Snapshot, parts: list[str]) -> NDArray[np.bool_]:
    """Which goroutines have one of `parts` (in lower case) in their status, wait reason or state."""

    def contains(words: str) -> bool:
        return any(part in words.casefold() for part in parts)

    g = snapshot.goroutines
    reasons = snapshot.wait_reasons
    leaked = _at([contains(state_words("leaked", reason)) for reason in reasons], g.wait_reason)
    matches = _at(map(contains, STATUSES), g.status) | _at(map(contains, reasons), g.wait_reason)
    matches |= leaked & (g.status == STATUSES.index("leaked"))
    return matches


def _through(snapshot: Snapshot, named: list[bool]) -> NDArray[np.bool_]:
    """Which goroutines have a frame that is `named`."""
    g = snapshot.goroutines
    before = np.concatenate([[0], np.cumsum(_at(named, snapshot.stack_frames))])
    stacks = np.diff(before[snapshot.stack_offsets]) > 0
    places = _at(named, g.start) | _at(named, g.where) | _at(named, g.call)
    return np.where(g.stack >= 0, _at(stacks, g.stack), places)


def _has(labels: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> bool:
    return all(labels.get(key) == value for key, value in wanted)
