"""Snapshots as Parquet tables: what is in them, how they are named, how large they are."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from spyglass.analysis.redaction import redacted
from spyglass.fleet.archive import Archive
from spyglass.fleet.identity import identity
from spyglass.fleet.local_store import File
from spyglass.fleet.schema import PARTITIONS, SCHEMA, TABLES
from spyglass.fleet.tables import fleet_tables
from spyglass.model import Goroutines, Snapshot
from spyglass.wait_graph import Connection
from spyglass.words.population import Population
from tests.fleets import BEGAN, MAIN, PARK, SEND, SERVE, Look, stacked, taken
from tests.saved import ACCOUNT, with_everything
from tests.snapshots import CONTAINED, PROCESS, Row, frame, make_snapshot
from tests.wait_things import Held, Thing, make_graph

DOCUMENT = Path(__file__).parents[2] / "docs" / "fleet.md"


def rows_of(snapshot: Snapshot, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = fleet_tables(snapshot, identity(snapshot))[table].to_pylist()
    return rows


def read(files: list[File], table: str) -> list[dict[str, Any]]:
    (file,) = [each for each in files if each.name.startswith(f"{table}/")]
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(file.data)).to_pylist()
    return rows


def test_groups_are_of_one_state_stack_and_creator() -> None:
    rows = stacked(SEND, 1, 3, "chan send") + stacked(SERVE, 10, 2, "IO wait")
    other = (PARK, SERVE, SEND)
    rows += [
        Row(20, wait_reason="chan send", where=SEND, start=SEND, creator=MAIN, stack=(PARK, SEND), quality="torn"),
        Row(21, wait_reason="chan send", where=SEND, start=SEND, creator=MAIN, stack=other),
        Row(22, "running", where=SEND, start=SEND, stack=(PARK, SEND)),
        Row(23, wait_reason="GC worker (idle)", system=True, stack=(PARK,)),
        Row(24, "dead"),
    ]  # fmt: skip
    found = rows_of(make_snapshot(rows), "groups")
    assert [
        (each["count"], each["state"], each["status"], each["function"], each["line"])
        for each in found
    ] == [
        (4, "chan send", "waiting", "main.ask", 15),
        (2, "IO wait", "waiting", "main.serve", 8),
        (1, "chan send", "waiting", "main.ask", 15),
        (1, "running", "running", "main.ask", 15),
    ]
    assert (found[0]["longest_wait_ns"], found[0]["doubtful"], found[0]["stuck"]) == (2, 1, None)
    assert (found[0]["creator_function"], found[0]["creator_line"]) == ("main.main", 30)
    assert (found[3]["creator_function"], found[3]["longest_wait_ns"]) == (None, None)
    assert found[0]["stack_id"] == found[3]["stack_id"] != found[2]["stack_id"]


def test_stacks_have_one_name_wherever_the_program_was_loaded() -> None:
    moved = [replace(each, pc=each.pc + 4096) for each in (PARK, SEND)]
    here = make_snapshot([Row(1, stack=(PARK, SEND)), Row(2, stack=tuple(moved))])
    (stack,) = rows_of(here, "stacks")
    assert [each["function"] for each in stack["frames"]] == ["runtime.gopark", "main.ask"]
    assert stack["frames"][1] == {"function": "main.ask", "file": "/src/main.go", "line": 15}
    (group,) = rows_of(here, "groups")
    assert (group["count"], group["stack_id"]) == (2, stack["stack_id"])
    for change in ({"line": 16}, {"file": "/src/x.go"}, {"function": "main.x"}):
        other = make_snapshot([Row(1, stack=(PARK, replace(SEND, **change)))])
        assert rows_of(other, "stacks")[0]["stack_id"] != stack["stack_id"], change
    (cut,) = rows_of(replace(here, elided={0: (1, 70), 1: (1, 70)}), "stacks")
    assert (cut["elided_after"], cut["elided"]) == (1, 70)
    assert cut["stack_id"] != stack["stack_id"]


def test_all_tables_have_their_columns_and_the_format() -> None:
    snapshot = with_everything()
    for name, table in fleet_tables(snapshot, identity(snapshot)).items():
        assert table.schema.equals(TABLES[name], check_metadata=True)
        assert len(table), name
    (process,) = rows_of(snapshot, "processes")
    assert process["pid"] == snapshot.process.pid
    assert process["goroutines"] == Population.whole(snapshot).user
    (memory,) = rows_of(snapshot, "memory")
    assert memory["heap_in_use_bytes"] == snapshot.memory.heap_in_use_bytes


def test_a_process_has_the_names_of_its_container_and_pod() -> None:
    names = ("container", "container_name", "pod", "namespace", "pod_uid")
    snapshot = make_snapshot(process=replace(CONTAINED, pod="cart-1\ud800"))
    (row,) = rows_of(snapshot, "processes")
    assert [row[each] for each in names[1:]] == ["cart", "cart-1\\ud800", "shop", "8d9b0a77"]
    (without,) = rows_of(redacted(snapshot), "processes")
    assert [without[each] for each in names] == [None] * 5


def test_memory_has_the_account_and_the_nearest_limit() -> None:
    (row,) = rows_of(taken(Look(0, limit_bytes=200 << 20)), "memory")
    parts = {name: value for name, value in row.items() if name.startswith("resident_")}
    assert sum(parts.values()) == row["rss_bytes"] == 100 << 20
    assert (parts["resident_go_heap_free_bytes"], parts["resident_c_bytes"]) == (50 << 20, 0)
    assert (row["go_total_bytes"], row["go_os_stacks_bytes"]) == (100 << 20, None)
    assert (row["limit_name"], row["limit_bytes"], row["limit_headroom_bytes"]) == ("memory.max", 200 << 20, 100 << 20)  # fmt: skip
    assert (row["limit_held_bytes"], row["oom_kills"]) == (100 << 20, 2)
    (without,) = rows_of(taken(Look(0)), "memory")
    unknown = set(row) - {name for name in row if without[name] is not None}
    assert unknown >= {*parts, "go_total_bytes", "limit_bytes", "oom_kills", "heap_live_bytes"}
    (core,) = rows_of(
        replace(with_everything(), account=replace(ACCOUNT, rss_bytes=None)), "memory"
    )
    assert core["resident_files_bytes"] is None


def test_waits_are_in_groups_with_holder_and_peer() -> None:
    peer = Connection("socket:tcp", "127.0.0.1:9", "10.0.3.7:5432", "ESTABLISHED")
    things = [
        Thing("mutex", [(1, "lock"), (2, "lock")], [Held(3, "write", 1, SERVE)], "main.mu"),
        Thing("fd", [(3, "read")], connection=peer),
        Thing("channel", [(4, "send")], type="chan int"),
        Thing("timer", [(5, "sleep")]),
    ]
    rows = [Row(goid, wait_reason="x", where=SEND, waiting_ns=goid) for goid in range(1, 5)]
    rows.append(Row(5, wait_reason="x", system=True))
    graph = make_graph(things, stuck=(4,), alive=(1, 2))
    snapshot = make_snapshot(rows, waits=graph)
    mutex, fd, channel = sorted(rows_of(snapshot, "waits"), key=lambda each: -each["goroutines"])
    if fd["kind"] == "channel":
        fd, channel = channel, fd
    assert (mutex["kind"], mutex["operation"], mutex["object"]) == ("mutex", "lock", "main.mu")
    assert (mutex["goroutines"], mutex["objects"], mutex["longest_wait_ns"]) == (2, 1, 2)
    assert mutex["holder_function"] == "main.serve"
    assert mutex["holder_evidence"] == "deferred unlock pending"
    assert (fd["peer"], fd["function"], fd["holder_function"]) == (
        "10.0.3.7:5432",
        "main.ask",
        None,
    )
    assert (channel["object_type"], channel["stuck"]) == ("chan int", 1)
    (hidden,) = [each for each in rows_of(redacted(snapshot), "waits") if each["kind"] == "fd"]
    assert hidden["peer"] == "socket:tcp"
    assert rows_of(snapshot, "processes")[0]["stuck"] == 1
    assert {each["state"]: each["stuck"] for each in rows_of(snapshot, "groups")} == {"x": 1}


def test_weak_evidence_names_no_holder() -> None:
    graph = make_graph([Thing("mutex", [(1, "lock")], [Held(2, "write", 5, SERVE)])])
    (wait,) = rows_of(make_snapshot([Row(1, wait_reason="x"), Row(2)], waits=graph), "waits")
    assert (wait["holder_function"], wait["holder_evidence"]) == (None, None)


def test_a_redacted_snapshot_says_nothing_of_its_circumstances() -> None:
    found = redacted(taken(Look(0, sending=2)))
    text = "".join(map(str, (rows_of(found, each) for each in TABLES)))
    assert "web1" not in text
    assert "/src" not in text
    assert "config.file" not in text
    (process,) = rows_of(found, "processes")
    assert (process["redacted"], process["host"], process["cmdline"]) == (True, None, [])


def test_names_that_are_no_utf_8_and_control_characters_are_kept_apart() -> None:
    odd = frame("main.\udcffx\x1b[31m", "/src/\udcfe.go")
    snapshot = make_snapshot([Row(1, where=odd, stack=(odd,))], host="\udcfd")
    archive = Archive(service="a/b=\udcfc ü")
    files = archive.add(snapshot)
    (group,) = read(files, "groups")
    assert (group["function"], group["host"]) == ("main.\\udcffx\x1b[31m", "\\udcfd")
    assert all(re.fullmatch(r"[\w=%./+-]+", each.name) for each in files)


def test_a_snapshot_without_stacks_and_without_goroutines() -> None:
    offsets: dict[str, Any] = {
        "stack_offsets": np.zeros(1, np.int64),
        "stack_frames": np.zeros(0, np.int32),
    }
    goroutines = replace(
        make_snapshot([Row(1, where=SEND)]).goroutines, stack=np.full(1, -1, np.int32)
    )
    top = replace(make_snapshot([Row(1, where=SEND)]), goroutines=goroutines, **offsets)
    assert rows_of(top, "groups")[0]["stack_id"] is None
    empty = make_snapshot([])
    assert {name: len(rows_of(empty, name)) for name in TABLES} == {
        "processes": 1, "groups": 0, "stacks": 0, "waits": 0, "memory": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module_version", "build_id", "expected"),
    [("v1.2.3", "abc", "v1.2.3"), ("(devel)", "0123456789abcdef", "0123456789ab"), (None, None, None)],
)  # fmt: skip
def test_versions(module_version: str | None, build_id: str | None, expected: str | None) -> None:
    process = replace(PROCESS, module_version=module_version, build_id=build_id)
    assert identity(make_snapshot(process=process)).version == expected


def test_an_instance_is_a_process_and_a_snapshot_is_a_moment() -> None:
    first, later = identity(taken(Look(0))), identity(taken(Look(1)))
    assert first.instance == later.instance
    assert first.snapshot_id != later.snapshot_id
    assert identity(taken(Look(0, pid=2))).instance != first.instance
    restarted = replace(PROCESS, pid=1, started_at=BEGAN)
    assert identity(replace(taken(Look(0)), process=restarted)).instance != first.instance
    assert identity(taken(Look(0)), "shop").service == "shop"


def test_a_stack_is_written_once_a_day() -> None:
    archive = Archive()
    first = archive.add(taken(Look(0, sending=3, serving=1)))
    assert len(read(first, "stacks")) == 2
    again = archive.add(taken(Look(1, sending=5, serving=1)))
    assert [each.name.split("/")[0] for each in again] == ["groups", "memory", "processes"]
    tomorrow = archive.add(taken(Look(24 * 60, sending=1)))
    assert len(read(tomorrow, "stacks")) == 1
    assert "/date=2026-11-21/service=orders/orders-web1-1-" in tomorrow[0].name
    archive.forget_stacks()
    assert len(read(archive.add(taken(Look(24 * 60 + 1, sending=1))), "stacks")) == 1


def test_a_batch_is_one_set_of_files_and_never_of_two_days() -> None:
    archive = Archive(batch=3)
    assert archive.add(taken(Look(0))) == archive.add(taken(Look(1))) == []
    files = archive.add(taken(Look(2)))
    assert len(read(files, "processes")) == 3
    assert archive.add(taken(Look(3))) == []
    night = archive.add(taken(Look(12 * 60)))
    assert [each["taken_at"] - BEGAN for each in read(night, "processes")] == [timedelta(minutes=3)]
    assert len(read(list(archive.rest()), "processes")) == 1
    assert list(archive.rest()) == []


def test_many_goroutines_with_the_same_stacks_are_small() -> None:
    count, stacks = 100_000, 1_000
    made = make_snapshot([Row(at, wait_reason="select", stack=(PARK, frame(f"main.f{at}"))) for at in range(stacks)])  # fmt: skip
    numbers = np.arange(count)
    goroutines = Goroutines.of(
        count, id=numbers.astype(np.uint64), stack=(numbers % stacks).astype(np.int32),
        status=np.full(count, 4, np.uint8), wait_reason=np.zeros(count, np.int16),
    )  # fmt: skip
    files = Archive().add(replace(made, goroutines=goroutines))
    assert sum(each["count"] for each in read(files, "groups")) == count
    assert sum(len(each.data) for each in files) < 200_000


def test_the_document_describes_every_column() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert SCHEMA in text
    for name, schema in TABLES.items():
        section = text.partition(f"\n### {name}\n")[2].partition("\n#")[0]
        described = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
        common = set() if name == "stacks" else set(TABLES["memory"].names[:6])
        assert described == set(schema.names) - common, name
    section = text.partition("\n### All tables\n")[2].partition("\n#")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == {
        *TABLES["memory"].names[:6],
        *PARTITIONS.names,
    }
