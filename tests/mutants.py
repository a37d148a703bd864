"""Documents of which one value is not what it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from spyglass.export import document
from tests.saved import with_everything

__all__ = ["BASE", "JUNK", "changed", "paths"]

JUNK: list[Any] = [
    None, True, "", "x", "2026-11-20T06:20:00Z", -1, 0, 2, 1.5, 2**63 - 1, 2**63, 10**30, [], {},
    [None], {"a": 1}, [[0]],
]  # fmt: skip


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield at
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from chain.from_iterable(paths(part, (*at, name)) for name, part in items)


def changed(made: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """`made` with `value` at `path`; without what is there for ``...``. All else is the same objects."""
    if not path:
        return value
    step, *rest = path
    made = copy.copy(made)
    if value is ... and not rest:
        del made[step]
    else:
        made[step] = changed(made[step], tuple(rest), value)
    return made


def _base() -> dict[str, Any]:
    """A document with as little of everything as can be changed everywhere within seconds."""
    snapshot = with_everything()
    made = document(
        replace(snapshot, processors=snapshot.processors[1:], threads=snapshot.threads[1:2])
    )
    return made | {"goroutines": made["goroutines"][:2], "wait_objects": made["wait_objects"][:2]}


BASE = _base()
