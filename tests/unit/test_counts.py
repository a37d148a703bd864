from __future__ import annotations

from spyglass.analysis.counts import by_os_state, by_status, by_wait_reason
from spyglass.analysis.selection import selected
from spyglass.model import Thread
from tests.snapshots import Row, make_snapshot


def test_by_status_counts_the_rows_it_is_given() -> None:
    rows = [Row(1, "running"), Row(2), Row(3), Row(4, "dead"), Row(5, system=True)]
    snapshot = make_snapshot(rows)
    own = selected(snapshot.goroutines)
    assert list(by_status(snapshot, own).items()) == [("waiting", 2), ("running", 1)]
    everyone = selected(snapshot.goroutines, system=True)
    assert by_status(snapshot, everyone) == {"waiting": 3, "running": 1}


def test_by_wait_reason_leaves_out_those_without_one() -> None:
    rows = [
        Row(1, "running"),
        Row(2),
        Row(3, wait_reason="sleep"),
        Row(4, wait_reason="select"),
        Row(5, wait_reason="select"),
    ]
    snapshot = make_snapshot(rows)
    found = by_wait_reason(snapshot, selected(snapshot.goroutines))
    assert list(found.items()) == [("select", 2), ("sleep", 1)]


def test_counts_of_nothing() -> None:
    snapshot = make_snapshot([], threads=())
    rows = selected(snapshot.goroutines)
    assert by_status(snapshot, rows) == {}
    assert by_wait_reason(snapshot, rows) == {}
    assert by_os_state(snapshot) == {}


def test_threads_by_state_of_the_kernel() -> None:
    threads = [
        Thread(tid, None, state, None, None, None, False, None)
        for tid, state in enumerate(["sleeping", "running", "sleeping", None])
    ]
    found = by_os_state(make_snapshot(threads=tuple(threads)))
    assert found == {"sleeping": 2, "running": 1, None: 1}
