"""The data of a page: a snapshot's goroutines in columns, its other lists in rows.

All text has gone through `spyglass.escape.visible`. ``assets/data.js`` reads the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.call_tree import CallTree
from spyglass.analysis.selection import selected
from spyglass.escape import visible
from spyglass.model import NONE, QUALITIES, STATUSES, Snapshot
from spyglass.report.buckets import Cells, cells, exact, id_column, wait_runs
from spyglass.report.call_trees import Stacks
from spyglass.report.page_places import Places, Strings
from spyglass.words.states import state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["list_data", "report_data"]

#: The maximum of problems in the page's list; the embedded snapshot has all of them.
_PROBLEMS_KEPT = 10_000


def report_data(snapshot: Snapshot) -> dict[str, Any]:
    """The data of the page of `snapshot` as JSON values; dead goroutines are left out.

    Goroutines that differ only in id and wait are one of ``cells``, whose columns are indices into
    ``strings``, ``places``, ``label_sets`` and the nodes of ``trees``, or `NONE`. ``goroutines`` has
    their ids and waits, in the order of the cells.
    """
    g = snapshot.goroutines
    rows = selected(g, system=True)
    strings = Strings()
    places = Places(snapshot, strings)
    stacks = Stacks(snapshot, rows, places)
    keys = _keys(snapshot, rows, places, stacks)
    found = cells(keys, g.id[rows], g.waiting_ns[rows])
    return {
        "cells": _cell_columns(snapshot, rows, keys, found, strings),
        "goroutines": {
            "ids": id_column(g.id[rows][found.order]),
            "waits": wait_runs(g.waiting_ns[rows][found.order]),
        },
        "label_sets": [_labels(labels.items(), strings) for labels in snapshot.label_sets],
        "trees": {"shown": _tree(stacks.shown), "all": _tree(stacks.all)},
        "places": places.columns(),
        "gc_count": snapshot.memory.gc_count,
        "strings": strings.texts,
        **list_data(snapshot),
    }


def list_data(snapshot: Snapshot) -> dict[str, Any]:
    """What ``assets/lists.js`` shows of `snapshot`, as JSON values: processors, threads and problems."""
    return {
        "processors": _records(snapshot.processors),
        "threads": _records(snapshot.threads),
        "cpu_window_ns": snapshot.cpu.window_ns if snapshot.cpu else None,
        "problems": _records(snapshot.problems[:_PROBLEMS_KEPT]),
        "problem_count": len(snapshot.problems),
    }


def _keys(
    snapshot: Snapshot, rows: NDArray[np.int64], places: Places, stacks: Stacks
) -> dict[str, NDArray[Any]]:
    """The columns that distinguish cells."""
    g = snapshot.goroutines
    return {
        "status": g.status[rows],
        "reason": g.wait_reason[rows],
        "shown": stacks.shown_leaves,
        "all": stacks.all_leaves,
        "where": places.of_frames(g.where[rows]),
        "call": places.of_frames(g.call[rows]),
        "creator": places.of_frames(g.creator[rows]),
        "labels": g.labels[rows],
        "system": g.system[rows].view(np.uint8),
        "locked": g.locked[rows].view(np.uint8),
        "quality": g.quality[rows],
    }


def _cell_columns(
    snapshot: Snapshot,
    rows: NDArray[np.int64],
    keys: dict[str, NDArray[Any]],
    found: Cells,
    strings: Strings,
) -> dict[str, list[int]]:
    columns = {name: key[found.order][found.firsts].tolist() for name, key in keys.items()}
    reasons = snapshot.wait_reasons
    pairs = list(zip(columns["status"], columns["reason"], strict=True))
    words = [state_at(snapshot, status, reason) for status, reason in pairs]
    return columns | {
        "status": [strings.number(STATUSES[status]) for status, _ in pairs],
        "reason": [strings.number(reasons[r]) if r != NONE else NONE for _, r in pairs],
        "state": [strings.number(state) for state in words],
        "quality": [strings.number(QUALITIES[quality]) for quality in columns["quality"]],
        "creator_id": exact(found.common(snapshot.goroutines.creator_id[rows])).tolist(),
        "count": found.counts.tolist(),
    }


def _labels(labels: Iterable[tuple[str, str]], strings: Strings) -> list[list[int]]:
    return [[strings.number(key), strings.number(value)] for key, value in labels]


def _tree(tree: CallTree) -> dict[str, list[int]]:
    return {"parent": tree.parents.tolist(), "place": tree.calls.tolist()}


def _records(parts: Iterable[Any]) -> list[dict[str, Any]]:
    """Dataclasses of the model: their fields, with text made visible."""
    return [
        {
            field.name: visible(value) if isinstance(value, str) else value
            for field in fields(part)
            for value in [getattr(part, field.name)]
        }
        for part in parts
    ]
