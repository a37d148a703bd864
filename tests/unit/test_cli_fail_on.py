"""Limits of the user's: what exceeds them, and what cannot be judged."""

from __future__ import annotations

from dataclasses import replace

import click
import pytest

from spyglass.cli.fail_on import Limit, _limit, waits_beyond
from spyglass.errors import SpyglassError
from spyglass.model import Snapshot
from spyglass.wait_graph import LookedAt
from tests.snapshots import Row, make_snapshot
from tests.wait_graphs import graph

FORMS = ["growth>N", "stuck>N", "deadlock"]
KINDS = ["growth", "stuck", "deadlock"]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("deadlock", Limit("deadlock")),
        ("stuck>0", Limit("stuck", 0)),
        (" growth > 12 ", Limit("growth", 12)),
    ],
)
def test_limits_as_typed(text: str, limit: Limit) -> None:
    assert _limit(text, KINDS, FORMS) == limit


@pytest.mark.parametrize("text", ["", "deadlock>1", "stuck", "stuck>-1", "stuck>x", "shrink>1"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not of the form"):
        _limit(text, KINDS, FORMS)
    with pytest.raises(click.BadParameter):
        _limit("growth>1", ["deadlock"], ["deadlock"])


def stuck(number: int, looked_at: LookedAt) -> Snapshot:
    ids = range(1, 6)
    waits = graph(
        [(goid, goid) for goid in ids],
        kinds=dict.fromkeys(ids, "channel"),
        stuck={goid: goid <= number for goid in ids},
    )
    rows = [Row(goid, wait_reason="chan receive") for goid in ids]
    return make_snapshot(rows, waits=replace(waits, looked_at=looked_at))


WHOLE = LookedAt(True, True, 1 << 20, heap_complete=True, marks=2)


@pytest.mark.parametrize(
    ("number", "most", "exceeds"), [(3, 2, True), (3, 3, False), (0, 0, False)]
)
def test_goroutines_that_can_never_be_woken(number: int, most: int, exceeds: bool) -> None:
    said = waits_beyond(stuck(number, WHOLE), [Limit("stuck", most)])
    assert said == ([f"stuck>{most}: {number} goroutines can never be woken"] if exceeds else [])


@pytest.mark.parametrize("looked_at", [LookedAt(), replace(WHOLE, heap_complete=False)])
def test_a_heap_that_was_not_looked_at_is_not_taken_for_sound(looked_at: LookedAt) -> None:
    with pytest.raises(SpyglassError, match="the heap was"):
        waits_beyond(stuck(1, looked_at), [Limit("stuck", 1)])
    assert waits_beyond(stuck(2, looked_at), [Limit("stuck", 1)])  # as many at least


def test_deadlocks() -> None:
    snapshot = make_snapshot(
        [Row(1), Row(2)], waits=graph([(1, 0), (2, 1)], [(2, 0, 1), (1, 1, 1)])
    )
    assert waits_beyond(snapshot, [Limit("deadlock")]) == ["deadlock: 1 found; goroutines 1, 2"]
    assert waits_beyond(make_snapshot(waits=graph([])), [Limit("deadlock")]) == []
    with pytest.raises(SpyglassError, match="was not read"):
        waits_beyond(make_snapshot(), [Limit("deadlock")])
