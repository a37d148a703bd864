"""How many goroutines more or fewer there are, as a profile."""

from __future__ import annotations

import io
from datetime import timedelta

import numpy as np

from spyglass.analysis.selection import selected
from spyglass.export.goroutine_delta import write_goroutine_delta
from spyglass.model import Snapshot
from tests.fleets import PARK, SEND, SERVE, stacked
from tests.profiles import Profile, decoded
from tests.snapshots import TAKEN_AT, Row, frame, make_snapshot


def delta(before: Snapshot, after: Snapshot) -> Profile:
    stream = io.BytesIO()
    rows = (selected(each.goroutines) for each in (before, after))
    write_goroutine_delta(before, next(rows), after, next(rows), stream)
    return decoded(stream.getvalue())


def counts(profile: Profile) -> dict[tuple[str, tuple[object, ...]], int]:
    return {
        (sample.functions[-1], sample.labels): count - (1 << 64 if count >> 63 else 0)
        for sample, count in profile.samples.items()
    }


def test_what_came_and_what_went() -> None:
    same = stacked(frame("main.same"), 500, 3, "select")
    labelled = [Row(900, stack=(PARK, SEND), labels={"tenant": "blue"})]
    before = make_snapshot([*same, *stacked(SEND, 1, 2, "chan send"), *stacked(SERVE, 50, 4, "IO wait")])  # fmt: skip
    # Other numbers of frames and stacks, other ids and waits.
    later = [*labelled, *stacked(SERVE, 70, 1, "select"), *same, *stacked(SEND, 90, 7, "chan send")]
    after = make_snapshot(later, taken_at=TAKEN_AT + timedelta(seconds=5))
    found = delta(before, after)
    assert counts(found) == {
        ("main.ask", ()): 5,
        ("main.serve", ()): -3,
        ("main.ask", (("tenant", "blue"),)): 1,
    }
    assert (found.kinds, found.duration_ns) == (("goroutine", "count"), 5 * 10**9)
    assert found.time_ns == int(after.taken_at.timestamp() * 1e6) * 1000


def test_goroutines_of_the_runtime_and_dead_ones_do_not_count() -> None:
    rows = [Row(1, system=True, stack=(PARK, SEND)), Row(2, "dead", stack=(PARK, SEND))]
    assert counts(delta(make_snapshot([]), make_snapshot(rows))) == {}


def test_goroutines_without_a_stack_and_with_a_cut_one() -> None:
    cut = make_snapshot([Row(1, stack=(PARK, SEND)), Row(2)])
    object.__setattr__(cut, "elided", {0: (1, 70)})
    found = delta(make_snapshot([]), cut)
    assert {tuple(sample.functions) for sample in found.samples} == {
        ("runtime.gopark", "[70 frames elided]", "main.ask"),
        ("[no stack]",),
    }
    assert sorted(found.addresses)[:2] == [0, 0]  # what is no call
    assert max(found.addresses) < 1 << 47
    assert counts(delta(cut, cut)) == {}
    assert np.array_equal(cut.goroutines.id, [1, 2])
