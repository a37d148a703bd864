"""``spyglass.waits/1``: the document, its schema, and the graph for Graphviz."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import spyglass
from spyglass.analysis.redaction import redacted
from spyglass.analysis.wait_verdicts import verdicts
from spyglass.analysis.wait_view import WaitView, wait_view
from spyglass.export import document
from spyglass.export.snapshot_reader import snapshot_of
from spyglass.export.waits_document import SCHEMA, write_waits
from spyglass.export.waits_dot import write_dot
from spyglass.model import Snapshot
from spyglass.wait_graph import Connection, LookedAt
from tests.saved import with_everything
from tests.snapshots import Row, frame, make_snapshot
from tests.wait_things import Held, Thing, make_graph

PLACE = files("spyglass.export")
WAITS_SCHEMA = json.loads(PLACE.joinpath("waits.schema.json").read_text())
SNAPSHOT_SCHEMA = json.loads(PLACE.joinpath("snapshot.schema.json").read_text())
VALIDATOR = Draft202012Validator(WAITS_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)

GET, REFRESH = frame("main.(*pool).get", line=41), frame("main.(*pool).refresh", line=88)
POOL, PEER, REPLY, LEDGER, CACHE = range(5)
GRAPH = make_graph(
    [
        Thing(
            "mutex", [(101, "lock"), (7, "lock")], [Held(77, frame=REFRESH)], "main.(*pool).mu", "sync.Mutex",
            state={"address": 0xC000132018, "locked": 1, "waiters_state": 2, "left_locked": 0},
        ),
        Thing(
            "fd", [(77, "read")],
            connection=Connection("socket:tcp", "10.0.0.1:40000", "10.0.3.7:5432", "ESTABLISHED", 0, 5),
            state={"fd": 12, "address": 0x7F0000000000},
        ),
        Thing("channel", [(9, "receive")], type="chan main.reply", state={"address": 0xC000077000, "length": 0, "capacity": 0, "closed": 0}),
        Thing("mutex", [(57, "lock")], [Held(41)], 'main."ledger"\\', state={"address": 0xC000000010, "locked": 1}),
        Thing("rwmutex", [(41, "rlock")], [Held(57, "write", 2), Held(7, "read", 5)], "main.cache\x1b", state={"address": 0xC000000020, "locked": 1}),
    ],
    stuck=(9,), alive=(7, 101, 77), unresolved=[(12, "moved while it was read")],
    looked_at=LookedAt(True, True, 1 << 20, True, 2),
)  # fmt: skip
ROWS = [
    Row(101, wait_reason="sync.Mutex.Lock", where=GET, waiting_ns=5),
    Row(7, wait_reason="sync.Mutex.Lock", where=GET, waiting_ns=192 * 10**9),
    Row(77, wait_reason="IO wait", where=REFRESH, waiting_ns=192 * 10**9),
    Row(9, wait_reason="chan receive", where=frame("main.askCarrier")),
    Row(41, wait_reason="sync.RWMutex.RLock", where=frame("main.a")),
    Row(57, wait_reason="sync.Mutex.Lock", where=frame("main.b")),
    Row(12, wait_reason="select"),
    Row(3, "running"),
]


def taken(**changes: object) -> Snapshot:
    return make_snapshot(ROWS, **({"waits": GRAPH} | changes))


def viewed(snapshot: Snapshot, *chosen: int) -> WaitView:
    known = verdicts(snapshot)
    assert known is not None
    ids = np.array(sorted(chosen), np.uint64) if chosen else None
    return wait_view(known, ids, is_part=bool(chosen))


def made(snapshot: Snapshot, *chosen: int) -> dict[str, Any]:
    stream = io.BytesIO()
    write_waits(viewed(snapshot, *chosen), stream)
    text = stream.getvalue()
    assert text.isascii()
    assert text.count(b"\n") == 1
    found: dict[str, Any] = json.loads(text)
    VALIDATOR.validate(found)
    return found


def by_id(records: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {each["id"]: each for each in records}


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(WAITS_SCHEMA)


def test_parts_that_both_documents_have_are_described_alike() -> None:
    ours, theirs = WAITS_SCHEMA["$defs"], SNAPSHOT_SCHEMA["$defs"]
    shared = ours.keys() & theirs.keys() - {"goroutine", "finding"}
    assert {"process", "frame", "problem", "looked_at"} <= shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    objects = ours["object"]["properties"].keys() - {"id"}
    assert objects == theirs["wait_object"]["properties"].keys()


def test_every_field_is_described_and_there() -> None:
    found = made(taken())
    assert set(WAITS_SCHEMA["required"]) <= found.keys() <= set(WAITS_SCHEMA["properties"])
    for name in ("object", "goroutine"):
        described = WAITS_SCHEMA["$defs"][name]["properties"].keys()
        for each in found[f"{name}s"]:
            assert each.keys() == described


def test_the_frame_of_it() -> None:
    found = made(taken(host="web-3"))
    assert (found["schema"], found["spyglass"]) == (SCHEMA, spyglass.__version__)
    assert (found["took_ns"], found["host"], found["redacted"]) == (12_345_678, "web-3", False)
    assert found["taken_at"] == "2026-11-20T06:20:00.123456Z"
    assert found["process"] == document(taken())["process"]
    assert found["source"] == {"kind": "process", "stopped": False, "stopped_ns": None}
    assert found["looked_at"] == {
        "stacks": True, "globals": True, "heap_bytes": 1 << 20, "heap_complete": True, "marks": 2,
    }  # fmt: skip


def test_a_lock() -> None:
    assert made(taken())["objects"][POOL] == {
        "id": POOL, "kind": "mutex", "address": "0xc000132018", "name": "main.(*pool).mu", "type": "sync.Mutex",
        "length": None, "capacity": None, "closed": None, "locked": True, "readers": None, "waiters_state": 2,
        "counter": None, "fd": None, "target": None, "local": None, "remote": None, "connection": None,
        "receive_queue_bytes": None, "send_queue_bytes": None, "deadline_in_ns": None, "due_in_ns": None,
        "waiters": [101, 7],
        "holders": [
            {
                "goroutine": 77, "mode": "write", "grade": 1, "evidence": "deferred unlock pending",
                "frame": {
                    "function": "main.(*pool).refresh", "file": "/src/main.go", "line": 88, "pc": REFRESH.pc,
                    "inlined": False, "hidden": False, "offset": None,
                },
            }
        ],
        "left_locked": False,
    }  # fmt: skip


def test_a_connection_and_a_channel() -> None:
    objects = made(taken())["objects"]
    peer = objects[PEER]
    assert (peer["fd"], peer["target"], peer["connection"]) == (12, "socket:tcp", "ESTABLISHED")
    assert (peer["local"], peer["remote"]) == ("10.0.0.1:40000", "10.0.3.7:5432")
    assert (peer["receive_queue_bytes"], peer["send_queue_bytes"]) == (0, 5)
    reply = objects[REPLY]
    assert (reply["kind"], reply["type"], reply["name"]) == ("channel", "chan main.reply", None)
    assert (reply["length"], reply["capacity"], reply["closed"]) == (0, 0, False)


def test_goroutines_are_those_that_wait_and_those_that_hold() -> None:
    found = by_id(made(taken())["goroutines"])
    assert found.keys() == {7, 9, 12, 41, 57, 77, 101}
    assert (found[7]["state"], found[7]["wait_reason"]) == ("waiting", "sync.Mutex.Lock")
    assert found[7]["waiting_ns"] == 192 * 10**9
    assert found[7]["waits_on"] == [{"object": POOL, "operation": "lock"}]
    assert (found[7]["verdict"], found[7]["behind"]) == ("stuck_behind", 77)
    assert (found[77]["verdict"], found[77]["stuck"]) == ("waits", False)
    assert (found[9]["verdict"], found[9]["stuck"]) == ("never", True)
    assert (found[41]["verdict"], found[57]["verdict"]) == ("deadlock", "deadlock")
    assert (found[12]["waits_on"], found[12]["verdict"]) == ([], "unknown")
    assert found[12]["stuck"] is None
    assert all(each["because"] for each in found.values())


def test_deadlocks_and_findings_name_objects_by_their_ids() -> None:
    found = made(taken())
    assert found["deadlocks"] == [{"goroutines": [41, 57], "objects": [CACHE, LEDGER]}]
    kinds = {each["kind"]: each["objects"] for each in found["findings"]}
    assert kinds["deadlock"] == [CACHE, LEDGER]
    assert {"leak", "lock_convoy"} <= kinds.keys()


def test_a_part_has_what_its_goroutines_hang_on_and_keeps_ids() -> None:
    found = made(taken(), 57)
    assert by_id(found["goroutines"]).keys() == {41, 57, 7, 77}
    assert by_id(found["objects"]).keys() == {POOL, PEER, LEDGER, CACHE}
    assert found["deadlocks"] == [{"goroutines": [41, 57], "objects": [CACHE, LEDGER]}]
    assert found["findings"] == []
    assert made(taken(), 9)["deadlocks"] == []


def test_a_select_waits_on_several() -> None:
    graph = make_graph([Thing("channel", [(7, "receive")]), Thing("channel", [(7, "send")])])
    (found,) = made(taken(waits=graph))["goroutines"]
    assert found["waits_on"] == [
        {"object": 0, "operation": "receive"},
        {"object": 1, "operation": "send"},
    ]


def test_a_holder_that_filters_left_out_has_no_state() -> None:
    graph = make_graph([Thing("mutex", [(7, "lock")], [Held(1000)])])
    found = by_id(made(taken(waits=graph))["goroutines"])
    assert (found[1000]["state"], found[1000]["waiting_ns"]) == (None, None)


def test_it_is_the_same_from_a_file() -> None:
    snapshot = taken()
    assert made(snapshot_of(json.dumps(document(snapshot)).encode())) == made(snapshot)


def test_without_addresses() -> None:
    text = json.dumps(made(redacted(taken(host="web-3"))))
    assert "main.(*pool).mu" in text
    for secret in ("10.0.3.7", "10.0.0.1", "web-3", "/src/"):
        assert secret not in text


def test_many_are_written_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(with_everything()), made(taken())
    monkeypatch.setattr("spyglass.export.waits_document._BATCH_ROWS", 2)
    monkeypatch.setattr("spyglass.export.wait_records._BATCH_ROWS", 2)
    monkeypatch.setattr("spyglass.export.json_text._BATCH_ELEMENTS", 1)
    assert (made(with_everything()), made(taken())) == whole


def test_nothing_waits() -> None:
    found = made(taken(waits=make_graph([])))
    assert (found["objects"], found["goroutines"], found["deadlocks"]) == ([], [], [])


# The graph.


def dot(snapshot: Snapshot, *chosen: int) -> str:
    stream = io.BytesIO()
    write_dot(viewed(snapshot, *chosen), stream)
    return stream.getvalue().decode()


def test_the_graph_of_a_chain() -> None:
    assert (
        dot(taken(), 101, 7)
        == r"""digraph waits {
  rankdir=LR;
  node [fontname="sans-serif", fontsize=11];
  edge [fontname="sans-serif", fontsize=9];
  o0 [label="mutex\nmain.(*pool).mu\nsync.Mutex, locked", shape=box];
  o0w0 [label="2 goroutines\nmain.(*pool).get", shape=ellipse, peripheries=2];
  g77 [label="goroutine 77\nmain.(*pool).refresh", shape=ellipse];
  o1 [label="read\n10.0.3.7:5432\n5 B not acknowledged by the peer", shape=box];
  o0w0 -> o0 [label="lock"];
  o0 -> g77 [label="held: deferred unlock pending"];
  g77 -> o1 [label="read"];
}
"""
    )


def test_the_graph_of_a_circle_is_red_and_escaped() -> None:
    text = dot(taken(), 41)
    assert r'g41 [label="goroutine 41\nmain.a", shape=ellipse, color=red];' in text
    assert r'o3 [label="mutex\nmain.\"ledger\"\\\nlocked", shape=box];' in text
    assert r'o4 [label="rwmutex\nmain.cache\\x1b\nlocked", shape=box];' in text
    assert 'o4 -> g57 [label="held: locked here on every path"];' in text
    assert 'o3 -> g41 [label="held: deferred unlock pending"];' in text


def test_doubtful_evidence_is_dashed() -> None:
    graph = make_graph([Thing("mutex", [(7, "lock"), (101, "lock")], [Held(77, "read", 4)])])
    assert 'held for reading; refers to it, and unlocks further on", style=dashed]' in dot(
        taken(waits=graph)
    )


def test_the_graph_is_the_same_each_time() -> None:
    rows = list(reversed(ROWS))
    assert dot(replace(make_snapshot(rows), waits=GRAPH)) == dot(taken())


def test_a_large_graph_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.export.waits_dot._MAX_GROUPS", 1)
    text = dot(taken())
    assert text.count("shape=box") == 1
    assert "// 4 smaller groups are left out" in text
