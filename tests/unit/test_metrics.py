"""Prometheus metrics of snapshots and accounts that were made by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from spyglass.cli import spyglass
from spyglass.cli.common_options import Settings
from spyglass.export.metrics import Looked, aged, families, place_labels, reading_counts
from spyglass.export.metrics import page as page_of
from spyglass.memory_account import CLASSES, GcStats, GoMemory, MemoryAccount
from spyglass.process_list import Names
from spyglass.wait_graph import Connection, LookedAt
from tests.snapshots import PROCESS, Row, frame, make_snapshot
from tests.wait_things import Thing, make_graph

ROWS = [
    *(Row(at, wait_reason="select", where=frame(f"main.f{at % 3}"), waiting_ns=at * 10**9) for at in range(1, 8)),
    Row(20, "running", where=frame("main.run")),
    Row(21, wait_reason="GC worker (idle)", system=True),
]  # fmt: skip

PLACE = {"container", "container_id", "pod", "namespace"}


def account(gc: GcStats, **memory: int) -> MemoryAccount:
    classes = {name: 2**at for at, name in enumerate(CLASSES)}
    return MemoryAccount(
        PROCESS, datetime.now(UTC), 1, 1, (), GoMemory(classes=classes, gc=gc, **memory)
    )  # fmt: skip


def page(looked: list[Looked], top_groups: int = 20) -> bytes:
    return page_of([families(each, top_groups) for each in looked])


def values(text: bytes) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            rest = {k: v for k, v in sample.labels.items() if k not in ("pid", "program")}
            found["|".join([sample.name, *rest.values()])] = sample.value
    return found


def test_goroutines_by_state_and_group() -> None:
    found = values(page([Looked(1, "x", 0.5, make_snapshot(ROWS))], top_groups=2))
    assert found["go_goroutines"] == 8
    assert found["go_info|go1.24.4"] == 1
    assert found["go_threads"] == 2
    assert found["go_sched_gomaxprocs_threads"] == 2
    assert found["spyglass_goroutines|select"] == 7
    assert found["spyglass_goroutines|running"] == 1
    groups = {name: value for name, value in found.items() if "goroutine_group" in name}
    assert len(groups) == 2
    assert groups["spyglass_goroutine_group|main.f1|select"] == 3
    assert found["spyglass_oldest_wait_seconds"] == 7
    assert found["spyglass_run_queue"] == 3
    assert found["spyglass_read_duration_seconds"] == 0.5
    assert "spyglass_stuck_goroutines" not in found
    assert "spyglass_lock_waiters" not in found


def test_memory_has_the_names_and_sums_of_client_golang() -> None:
    gc = GcStats(cycles=6, last_at=datetime(2026, 1, 1, tzinfo=UTC), pause_total_ns=21, pauses_ns=(6, 5, 4, 3, 2, 1))  # fmt: skip
    looked = Looked(1, "x", 1, make_snapshot(ROWS), account(gc, heap_goal_bytes=7, gogc_percent=-1))
    found = values(page([looked]))
    size = {name: 2**at for at, name in enumerate(CLASSES)}
    assert (
        found["go_memstats_heap_idle_bytes"]
        == found["go_memstats_heap_released_bytes"] + size["heap/free"]
    )
    assert found["go_memstats_heap_inuse_bytes"] == size["heap/objects"] + size["heap/unused"]
    assert found["go_memstats_sys_bytes"] == size["total"]
    assert found["go_memstats_next_gc_bytes"] == 7
    assert found["go_gc_gogc_percent"] == float(2**64)
    assert "go_gc_gomemlimit_bytes" not in found
    assert found["go_gc_duration_seconds_count"] == 6
    assert found["go_gc_duration_seconds_sum"] == pytest.approx(21e-9)
    pauses = [found[f"go_gc_duration_seconds|{each}"] for each in ("0", "0.25", "0.5", "0.75", "1")]
    assert pauses == pytest.approx([1e-9, 2e-9, 4e-9, 5e-9, 6e-9])
    assert found["go_memstats_last_gc_time_seconds"] == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_what_is_not_known_has_no_sample() -> None:
    looked = Looked(
        1, "x", 1, make_snapshot([]), MemoryAccount(PROCESS, datetime.now(UTC), 1, 1, (), GoMemory({}))
    )  # fmt: skip
    found = values(page([looked]))
    assert not [name for name in found if name.startswith(("go_memstats", "go_gc"))]
    assert "spyglass_oldest_wait_seconds" not in found


def test_waits_for_locks_and_peers_and_stuck_ones() -> None:
    peers = [Connection("socket:tcp", "a:1", each) for each in ("b:1", "b:1", "c:1")]
    things = [
        Thing("mutex", [(1, "lock"), (2, "lock")]),
        *(Thing("fd", [(at + 3, "read")], connection=each) for at, each in enumerate(peers)),
        Thing("channel", [(6, "send")]),
    ]
    rows = [Row(at, wait_reason="x") for at in range(1, 8)]
    for complete in (True, False):
        looked_at = LookedAt(True, True, 1, complete, 3)
        graph = make_graph(things, stuck=(6,), alive=(1,), looked_at=looked_at)
        found = values(page([Looked(1, "x", 1, make_snapshot(rows, waits=graph))]))
        assert found["spyglass_lock_waiters"] == 2
        assert found["spyglass_peers_waited_for"] == 2
        assert found.get("spyglass_stuck_goroutines") == (1 if complete else None)


def test_several_processes_share_a_family_and_names_are_escaped() -> None:
    odd = frame('main."\\\n\x1b' + "x" * 1000)
    snapshot = make_snapshot([Row(1, wait_reason="x", where=odd)])
    text = page([Looked(1, "a\x1b", 1, snapshot), Looked(2, "b", 2, error="gone")])
    assert text.count(b"# TYPE spyglass_process_read gauge") == 1
    assert b"\x1b" not in text
    assert max(map(len, text.splitlines())) < 500
    read = {
        sample.labels["pid"]: sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == "spyglass_process_read"
    }
    assert read == {"1": 1, "2": 0}


def test_the_names_of_container_and_pod_are_labels_where_they_are_known() -> None:
    gc = GcStats(cycles=1, last_at=datetime.now(UTC), pause_total_ns=1, pauses_ns=(1,))
    places = {
        1: place_labels("c0ffee", Names("cart", "cart-1", "shop", "8d9b0a77")),
        2: place_labels("c0ffee", Names()),
        3: place_labels(None, Names()),
        4: place_labels(None, Names("x\x1b" + "y" * 253)),
    }
    text = page([
        Looked(pid, "x", 1, make_snapshot(ROWS), account(gc), place=place) for pid, place in places.items()
    ])  # fmt: skip
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            own = frozenset(f"{k}={v}" for k, v in sample.labels.items() if k in PLACE)
            found.setdefault(sample.labels["pid"], set()).add(own)
    assert found == {
        "1": {frozenset({"container=cart", "pod=cart-1", "namespace=shop"})},
        "2": {frozenset({"container_id=c0ffee"})},
        "3": {frozenset()},
        "4": {frozenset({("container=x\\x1b" + "y" * 253)[:210]})},
    }


@pytest.mark.parametrize("arguments", [[], ["--all", "1"]])
def test_targets_or_all(arguments: list[str]) -> None:
    result = CliRunner().invoke(spyglass, ["export", *arguments], obj=Settings())
    assert result.exit_code == 2


def test_the_document_lists_all_metrics() -> None:
    gc = GcStats(cycles=1, last_at=datetime.now(UTC), pause_total_ns=1, pauses_ns=(1,))
    graph = make_graph([Thing("mutex", [(1, "lock")])], looked_at=LookedAt(True, True, 1, True, 3))
    memory = account(gc, heap_goal_bytes=1, gogc_percent=1, memory_limit_bytes=1)
    of_one = families(Looked(1, "x", 1, make_snapshot(ROWS, waits=graph), memory))
    text = page_of([aged(of_one, {"pid": "1", "program": "x"}, 1), reading_counts(1, 0)]).decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    document = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert "spyglass_readings" in names
    listed = {name for name in names if f"`{name}`" in document or f"`{name}_total`" in document}
    assert names - listed == set()
