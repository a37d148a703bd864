"""Findings about what goroutines wait on: each when it is due and just before."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from spyglass.analysis.findings import Finding, findings
from spyglass.analysis.findings.worth_reading import may_wait_for_peers
from spyglass.analysis.subset import subset
from spyglass.wait_graph import WaitGraph
from tests.snapshots import Row, frame, make_snapshot
from tests.wait_graphs import graph

SECOND_NS = 10**9
ASK = frame("main.ask", "/src/ask.go", 12)
LOCK = frame("sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)
START = frame("main.main.func1", "/src/main.go", 7)


def row(goid: int, reason: str = "sync.Mutex.Lock", seconds: int | None = None) -> Row:
    call = LOCK if reason == "sync.Mutex.Lock" else None
    waiting_ns = None if seconds is None else seconds * SECOND_NS
    return Row(goid, wait_reason=reason, where=ASK, call=call, start=START, waiting_ns=waiting_ns)


def found(rows: Iterable[Row], waits: WaitGraph) -> list[Finding]:
    return list(findings(make_snapshot(rows, waits=waits)))


def test_two_in_a_deadlock_and_those_behind_them() -> None:
    names = {0: "main.(*ledger).mu", 1: "main.(*cache).mu"}
    waits = graph([(41, 0), (57, 1), (60, 0), (61, 1)], [(57, 0, 1), (41, 1, 2)], names=names)
    (finding,) = found(map(row, (41, 57, 60, 61)), waits)
    assert (finding.kind, finding.severity) == ("deadlock", "critical")
    assert finding.title == (
        "goroutines 41 and 57 hold what the other wants: main.(*cache).mu and main.(*ledger).mu"
    )
    assert finding.detail == "2 more goroutines wait behind them"
    assert (finding.examples, finding.objects) == ((41, 57), (0, 1))
    assert finding.next == "spyglass waits --pid 1234 --goroutine 41"


def test_one_that_locks_twice_and_a_circle_of_five() -> None:
    circle = [(goid, goid) for goid in range(5)]
    waits = graph(
        [(9, 9), *((goid + 1, number) for goid, number in circle)],
        [(9, 9, 1), *(((goid + 1) % 5 + 1, number, 1) for goid, number in circle)],
    )
    first, second = (each.title for each in found(map(row, (1, 2, 3, 4, 5, 9)), waits))
    assert first == (
        "5 goroutines wait for each other in a circle: 1, 2, 3, 4 and 1 more (mutex 0x1000, ...)"
    )
    assert second == "goroutine 9 waits for mutex 0x1090, which it holds itself"


@pytest.mark.parametrize(
    ("waiters", "seconds", "kinds"),
    [
        (4, None, []),
        (5, None, ["lock_convoy"]),
        (1, 1, ["lock_convoy"]),
        (1, 0, []),
    ],
)
def test_a_convoy_from_when_on(waiters: int, seconds: int | None, kinds: list[str]) -> None:
    ids = range(100, 100 + waiters)
    waits = graph([*((goid, 0) for goid in ids), (77, 1)], [(77, 0, 1)], {1: "fd"})
    rows = [*(row(goid, seconds=seconds) for goid in ids), row(77, "IO wait")]
    assert [each.kind for each in found(rows, waits)] == kinds


@pytest.mark.parametrize(("seconds", "severity"), [(59, "warning"), (60, "critical")])
def test_what_a_convoy_says(seconds: int, severity: str) -> None:
    ids = range(100, 188)
    names = {0: "main.(*pool).mu"}
    waits = graph([*((goid, 0) for goid in ids), (77, 1)], [(77, 0, 1)], {1: "fd"}, names=names)
    (finding,) = found([*(row(goid, seconds=seconds) for goid in ids), row(77, "IO wait")], waits)
    assert finding.severity == severity
    assert finding.title == (
        f"88 goroutines wait for main.(*pool).mu (oldest >= {'59s' if seconds == 59 else '1m'}); "
        "goroutine 77 holds it, and waits for 10.0.3.7:5432"
    )
    assert finding.next == "spyglass waits --pid 1234 --object 0x1000"


def test_a_lock_without_a_holder_is_reported_by_function() -> None:
    waits = graph([(goid, 0) for goid in range(100, 110)], [(7, 0, 4)])
    assert [each.kind for each in found(map(row, range(100, 110)), waits)] == ["lock-wait"]


def test_a_lock_that_was_left_locked() -> None:
    waits = graph([(1, 0)], left=[0], names={0: "main.mu"})
    (finding,) = found([row(1)], waits)
    assert (finding.kind, finding.severity) == ("left_locked", "warning")
    assert finding.title == (
        "main.mu is locked, and no goroutine that could unlock it was found: 1 goroutine waits for it"
    )


def test_what_can_never_be_woken() -> None:
    ids = list(range(1, 413))
    waits = graph(
        [(goid, goid) for goid in [*ids, 500]],
        kinds={goid: "channel" for goid in [*ids, 500]},
        stuck={**dict.fromkeys(ids, True), 500: False},
    )
    rows = [*(row(goid, "chan receive") for goid in ids), row(500, "chan receive")]
    leaks = [each for each in found(rows, waits) if each.kind == "leak"]
    assert [each.title for each in leaks] == [
        "412 goroutines at main.ask can never be woken: nothing else refers to their channels"
    ]
    assert leaks[0].next == "spyglass waits --pid 1234 --stuck"


@pytest.mark.parametrize(
    ("count", "seconds", "kinds"), [(5, 10, ["stuck_peer"]), (4, 10, []), (5, 9, [])]
)
def test_a_peer_that_does_not_answer(count: int, seconds: int, kinds: list[str]) -> None:
    ids = range(1, 1 + count)
    waits = graph([(goid, goid) for goid in ids], kinds=dict.fromkeys(ids, "fd"))
    rows = [row(goid, "IO wait", seconds) for goid in ids]
    assert [each.kind for each in found(rows, waits)] == kinds
    idle = [
        Row(goid, wait_reason="IO wait", where=ASK, start=ASK, waiting_ns=10**12) for goid in ids
    ]
    assert found(idle, waits) == []
    for those, expected in ((rows, seconds >= 10), (idle, False)):
        snapshot = make_snapshot(those)
        may = may_wait_for_peers(snapshot.goroutines, snapshot.wait_reasons, snapshot.frames)
        assert may.tolist() == [expected] * count


def test_of_a_part_nothing_is_said() -> None:
    snapshot = make_snapshot([row(1), row(2)], waits=graph([(1, 0)], [(1, 0, 1)]))
    assert [each.kind for each in findings(snapshot)] == ["deadlock"]
    part = subset(snapshot, [0])  # type: ignore[arg-type]
    assert findings(part) == ()
