"""Why a filter matched no goroutine: which of its conditions failed, and what there is instead."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from spyglass.analysis.counts import by_label, by_state
from spyglass.analysis.filters import Filter, criteria
from spyglass.words.units import count, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from spyglass.model import Snapshot

__all__ = ["no_match"]

#: How many of the states, functions, creators or labels that there are the sentence names.
_MAX_NAMED = 8


def no_match(snapshot: Snapshot, rows: NDArray[np.int64], wanted: Filter) -> str:
    """One sentence on why none of the goroutines `rows` (int64) is `wanted`.

    It names the first condition that none of them meets and what there is instead; if each condition
    alone is met by some, how many meet each.
    """
    met = {name: int(matches[rows].sum()) for name, matches in criteria(snapshot, wanted)}
    for name, number in met.items():
        if not number:
            return _failed(snapshot, rows, wanted, name)
    each = ", ".join(f"{_condition(wanted, name)}: {count(n)}" for name, n in met.items())
    return f"no goroutine matches all filters; each alone matches: {each}"


def _failed(snapshot: Snapshot, rows: NDArray[np.int64], wanted: Filter, name: str) -> str:
    """The sentence for the condition `name`, which none of `rows` meets."""
    condition = _condition(wanted, name)
    if name == "states":
        return f"no goroutine is in {condition}; {_listed('there are', by_state(snapshot, rows))}"
    if name == "function":
        functions = _functions(snapshot, snapshot.goroutines.where[rows])
        return f"no goroutine has a {condition} on its stack; {_listed('they are in', functions)}"
    if name == "creator":
        creators = _functions(snapshot, snapshot.goroutines.creator[rows])
        return f"no goroutine has a {condition}; {_listed('creators are', creators)}"
    if name == "labels":
        return f"no goroutine has {condition}; {_listed('labels are', by_label(snapshot, rows))}"
    if name == "ids":
        return f"there is no {condition}; {_ids(snapshot, rows)}"
    return f"no goroutine is known to have a {condition}; {_longest(snapshot, rows)}"


def _condition(wanted: Filter, name: str) -> str:
    """The condition `name` in words: ``state "mutex"``."""
    if name == "states":
        return "state " + " or ".join(f'"{state}"' for state in wanted.states)
    if name == "labels":
        return "label " + " and ".join(f"{key}={value}" for key, value in wanted.labels)
    if name == "ids":
        return "goroutine " + " or ".join(map(str, wanted.ids))
    if name == "min_wait_ns":
        return f"wait of {duration(wanted.min_wait_ns)} or more"
    pattern = wanted.function if name == "function" else wanted.creator
    return f'{name} matching "{pattern.pattern if pattern else ""}"'


def _listed(title: str, counts: Mapping[str, int]) -> str:
    """``there are: chan send 668, select 8``; the most frequent first, at most `_MAX_NAMED`."""
    if not counts:
        return "none is known"
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    named = ", ".join(f"{words} {count(number)}" for words, number in ordered[:_MAX_NAMED])
    more = len(ordered) - _MAX_NAMED
    return f"{title}: {named}" + (f", and {count(more)} more" if more > 0 else "")


def _functions(snapshot: Snapshot, frames: NDArray[np.int32]) -> dict[str, int]:
    """How many of `frames` (indices) are in each function."""
    found: Counter[str] = Counter()
    for index, number in Counter(frames[frames >= 0].tolist()).items():
        found[snapshot.frames[index].function] += number
    return found


def _ids(snapshot: Snapshot, rows: NDArray[np.int64]) -> str:
    ids = snapshot.goroutines.id[rows]
    if not len(ids):
        return "there are none"
    return f"there are {count(len(ids))}, with ids from {ids.min()} to {ids.max()}"


def _longest(snapshot: Snapshot, rows: NDArray[np.int64]) -> str:
    longest_ns = int(snapshot.goroutines.waiting_ns[rows].max(initial=-1))
    if longest_ns < 0:
        return "no wait has a known beginning: Go timestamps waits only at GC"
    return f"the longest known wait is {duration(longest_ns)}"
