"""Limits of the user's: what exceeds them, and what cannot be judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import pytest

from spyglass import cli
from spyglass.cli.fail_on import Limit, _limit, headroom_beyond, waits_beyond
from spyglass.errors import SpyglassError
from spyglass.export.snapshot_file import save
from spyglass.memory_limits import MemoryLimit, MemoryLimits
from spyglass.model import Snapshot
from spyglass.wait_graph import LookedAt
from tests.snapshots import Row, make_snapshot
from tests.wait_graphs import graph

FORMS = ["growth>N", "stuck>N", "deadlock", "headroom<N%"]
KINDS = ["growth", "stuck", "deadlock", "headroom"]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("deadlock", Limit("deadlock")),
        ("stuck>0", Limit("stuck", 0)),
        ("headroom < 10 %", Limit("headroom", 10)),
        (" growth > 12 ", Limit("growth", 12)),
    ],
)
def test_limits_as_typed(text: str, limit: Limit) -> None:
    assert _limit(text, KINDS, FORMS) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deadlock>1",
        "stuck",
        "stuck>-1",
        "stuck>x",
        "shrink>1",
        "headroom>1%",
        "headroom<100%",
        "headroom<1",
    ],
)
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


GROUP = MemoryLimit("cgroup", "memory.max", "kill", "/a", 1000 << 20, 950 << 20, 50 << 20)
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


def test_headroom_is_of_every_limit_that_ends_a_process() -> None:
    group = GROUP
    soft = MemoryLimit("gomemlimit", "GOMEMLIMIT", "collect", bytes=100, used_bytes=100)
    known = MemoryLimits((group, soft))
    assert headroom_beyond(known, [Limit("headroom", 10)]) == []  # exactly as much
    assert headroom_beyond(known, [Limit("headroom", 11)]) == [
        "headroom<11%: 100.0 MiB (10.0 %) are left of the memory limit of its control group"
    ]
    assert headroom_beyond(None, []) == []
    for unknown in (None, MemoryLimits(), MemoryLimits((replace(group, used_bytes=None), soft))):
        with pytest.raises(SpyglassError, match="is not known"):
            headroom_beyond(unknown, [Limit("headroom", 10)])


@pytest.mark.parametrize("options", [[], ["--json"], ["--state", "running"]])
def test_a_summary_judges_the_limits_of_the_whole_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    path = tmp_path / "one.json"

    def said(limits: MemoryLimits | None, least: int) -> tuple[int, str]:
        save(make_snapshot([Row(1), Row(2, "running")], limits=limits), path)
        code = cli.run(["summary", str(path), "--fail-on", f"headroom<{least}%", *options])
        written = capsys.readouterr()
        assert written.out
        return code, written.err.partition(" of ")[0]

    limits = MemoryLimits((GROUP,))
    assert said(limits, 10)[0] == 0
    assert said(limits, 11) == (3, "headroom<11%: 100.0 MiB (10.0 %) are left")
    unknown = "spyglass: --fail-on headroom<11%: how much memory is left is not known\n"
    assert said(None, 11) == (1, unknown)
