"""A deadlock, a convoy behind a slow peer and a leak in one stripped program: what is said of each."""

from __future__ import annotations

import re

import pytest

import spyglass
from spyglass.analysis.findings import findings
from spyglass.analysis.findings.worth_reading import may_wait_for_peers
from spyglass.model import Snapshot
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.wait_graph import WaitGraph
from tests.command import piped
from tests.support import MATRIX, Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]


def ids(snapshot: Snapshot, function: str) -> set[int]:
    """The goroutines with `function` on their stacks."""
    return {
        each.id
        for each in snapshot
        if any(frame.function == function for frame in each.stack or ())
    }


@pytest.mark.parametrize("minor", MATRIX)
def test_a_summary_names_holders_although_it_follows_little_code(minor: str) -> None:
    """One by a deferred call, and one by the code of a long function."""
    with start("knots", minor, Flavour.STRIPPED, "-deadlock", "-convoy", "12") as process:
        said = piped("summary", "--pid", str(process.pid)).stdout
    assert re.search(r"12 goroutines wait for .*; goroutine \d+ holds it, and waits for 127", said)
    with start("incident", minor, Flavour.STRIPPED, "mutex") as process:
        said = piped("summary", "--pid", str(process.pid)).stdout
    assert re.search(r"8 goroutines wait for .*; goroutine 1 holds it", said)


@pytest.mark.parametrize("minor", MATRIX)
def test_each_knot_is_found_and_nothing_else(minor: str) -> None:
    options = ("-deadlock", "-convoy", "12", "-leak", "30")
    with (
        start("knots", minor, Flavour.STRIPPED, *options) as process,
        spyglass.attach(process.pid) as program,
    ):
        snapshot = program.snapshot(waits=WaitOptions())
    (book,), (rebuild,) = (
        ids(snapshot, "main.(*ledger).book"),
        ids(snapshot, "main.(*cache).rebuild"),
    )
    (refresh,) = ids(snapshot, "main.(*pool).refresh")
    known = spyglass.verdicts(snapshot)
    assert known is not None
    assert [set(each.goroutines) for each in known.deadlocks] == [{book, rebuild}]
    by_kind = {each.kind: each for each in findings(snapshot)}
    names = {
        book: "main.(*ledger).mu and main.(*cache).mu",
        rebuild: "main.(*cache).mu and main.(*ledger).mu",
    }
    first = min(book, rebuild)
    assert by_kind["deadlock"].title == (
        f"goroutines {first} and {max(book, rebuild)} hold what the other wants: {names[first]}"
    )
    convoy = by_kind["lock_convoy"].title
    assert convoy.startswith("12 goroutines wait for main.(*pool).mu (oldest >= ")
    assert f"; goroutine {refresh} holds it, and waits for 127.0.0.1:" in convoy
    assert by_kind["leak"].title.startswith(
        "30 goroutines at main.askCarrier.func1 can never be woken: nothing else refers to their channels"
    )
    stuck = set(known.ids[known.stuck == 1].tolist())
    assert stuck == {book, rebuild} | ids(snapshot, "main.askCarrier.func1")


@pytest.mark.parametrize("minor", MATRIX)
def test_without_knots_nothing_is_said(minor: str) -> None:
    with (
        start("knots", minor, Flavour.STRIPPED) as process,
        spyglass.attach(process.pid) as program,
    ):
        snapshot = program.snapshot(waits=WaitOptions())
    known = spyglass.verdicts(snapshot)
    assert known is not None
    assert known.deadlocks == ()
    assert not (known.stuck == 1).any()
    assert {"deadlock", "lock_convoy", "leak", "left_locked"}.isdisjoint(
        each.kind for each in findings(snapshot)
    )


@pytest.mark.parametrize("minor", MATRIX)
@pytest.mark.parametrize(
    ("program_name", "arguments", "left_out"),
    [("contended", ["20"], 60), ("knots", ["-deadlock", "-convoy", "12"], 1)],
)
def test_a_summary_reads_no_more_than_findings_need(
    minor: str, program_name: str, arguments: list[str], left_out: int
) -> None:
    """The same locks, holders and what these wait on; nothing of others."""
    with (
        start(program_name, minor, Flavour.STRIPPED, *arguments) as process,
        spyglass.attach(process.pid) as program,
    ):
        whole = program.snapshot("top", waits=WaitOptions(heap=False))
        part = program.snapshot(
            "top", waits=WaitOptions(heap=False, beside_locks=may_wait_for_peers)
        )
    assert whole.waits is not None
    assert part.waits is not None
    every, some = waits_in(whole.waits), waits_in(part.waits)
    assert some <= every
    holders = set(part.waits.holders.goroutine.tolist())
    assert holders == set(whole.waits.holders.goroutine.tolist())
    others = {wait for wait in every if wait[1] in ("channel", "fd", "timer")}
    assert len(every - some) >= left_out
    assert every - some == {wait for wait in others if wait[0] not in holders}
    if program_name == "knots":  # who holds the pool waits for a peer
        assert {wait[1] for wait in some} >= {"mutex", "fd"}
    told = [
        [(each.kind, each.severity, each.examples) for each in findings(snapshot)]
        for snapshot in (whole, part)
    ]
    assert told[0] == told[1]


def waits_in(graph: WaitGraph) -> set[tuple[int, str, int, str]]:
    return {
        (waiter.goroutine, each.kind, each.address, waiter.operation)
        for each in graph
        for waiter in each.waiters
    }
