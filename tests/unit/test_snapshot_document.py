from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

import spyglass
from spyglass.analysis.subset import subset
from spyglass.export import document, write_json
from spyglass.model import Problem, Snapshot
from tests.saved import LIMITS
from tests.snapshots import MEMORY, PROCESS, SCHEDULER, Row, frame, make_snapshot

SCHEMA = json.loads(files("spyglass.export").joinpath("snapshot.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)

MAIN = frame("main.main", line=30)
DEEP = frame("main.deep", line=15)
PARK = replace(frame("runtime.gopark", "/go/src/runtime/proc.go", 402), hidden=True)
TAKE = frame("queue.Take", "/go/src/queue/queue.go", 9)
START = frame("runtime.main", "/go/src/runtime/proc.go", 147)

ROWS = [
    Row(1, wait_reason="chan receive", where=MAIN, call=TAKE, start=START, stack=(PARK, MAIN)),
    Row(
        17,
        "running",
        where=DEEP,
        start=DEEP,
        creator=MAIN,
        creator_id=1,
        m=2,
        locked=True,
        quality="torn",
        stack=(DEEP,),
        labels={"tenant": "blue", "request": "\x1b[31m"},
    ),
    Row(18, wait_reason="select", waiting_ns=7, start=DEEP, creator=MAIN, stack=(PARK, MAIN)),
    Row(2, wait_reason="force gc (idle)", system=True, quality="unreadable", labels=None),
    Row(99, "dead"),
]

MAIN_PLACE = {"function": "main.main", "file": "/src/main.go", "line": 30, "frame": 0}
START_PLACE = {
    "function": "runtime.main",
    "file": "/go/src/runtime/proc.go",
    "line": 147,
    "frame": 3,
}
TAKE_PLACE = {"function": "queue.Take", "file": "/go/src/queue/queue.go", "line": 9, "frame": 2}
DEEP_PLACE = {"function": "main.deep", "file": "/src/main.go", "line": 15, "frame": 1}


def written(snapshot: Snapshot) -> str:
    stream = io.BytesIO()
    write_json(snapshot, stream)
    return stream.getvalue().decode("ascii")


def undocumented(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """Keys in `value` that no part of `schema` names."""
    if isinstance(value, list):
        return [k for item in value for k in undocumented(item, schema.get("items", {}), at + "[]")]
    if not isinstance(value, dict):
        return []
    properties = all_properties(schema)
    if not properties:
        return []
    unknown = [f"{at}.{key}" for key in value if key not in properties]
    for key in value.keys() & properties.keys():
        unknown += undocumented(value[key], properties[key], f"{at}.{key}")
    return sorted(unknown, reverse=True)


def all_properties(schema: dict[str, Any]) -> dict[str, Any]:
    """The properties that `schema` and what it refers to name; references in them resolved."""
    schema = resolved(schema)
    found = {name: resolved(part) for name, part in schema.get("properties", {}).items()}
    for part in schema.get("allOf", []) + schema.get("anyOf", []):
        found |= all_properties(part)
    return found


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return SCHEMA["$defs"][reference.removeprefix("#/$defs/")] if reference else schema


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_goroutines() -> None:
    assert document(make_snapshot(ROWS))["goroutines"] == [
        {
            "id": 1,
            "status": "waiting",
            "wait_reason": "chan receive",
            "waiting_ns": None,
            "printed_ns": None,
            "stack": 0,
            "where": MAIN_PLACE,
            "call": TAKE_PLACE,
            "start": START_PLACE,
            "created_by": None,
            "m": None,
            "locked_to_thread": False,
            "system": False,
            "labels": {},
            "quality": "stable",
        },
        {
            "id": 17,
            "status": "running",
            "wait_reason": None,
            "waiting_ns": None,
            "printed_ns": None,
            "stack": 1,
            "where": DEEP_PLACE,
            "call": None,
            "start": DEEP_PLACE,
            "created_by": MAIN_PLACE | {"goroutine": 1},
            "m": 2,
            "locked_to_thread": True,
            "system": False,
            "labels": {"tenant": "blue", "request": "\x1b[31m"},
            "quality": "torn",
        },
        {
            "id": 18,
            "status": "waiting",
            "wait_reason": "select",
            "waiting_ns": 7,
            "printed_ns": 7,
            "stack": 0,
            "where": None,
            "call": None,
            "start": DEEP_PLACE,
            "created_by": MAIN_PLACE | {"goroutine": None},
            "m": None,
            "locked_to_thread": False,
            "system": False,
            "labels": {},
            "quality": "stable",
        },
        {
            "id": 2,
            "status": "waiting",
            "wait_reason": "force gc (idle)",
            "waiting_ns": None,
            "printed_ns": None,
            "stack": None,
            "where": None,
            "call": None,
            "start": None,
            "created_by": None,
            "m": None,
            "locked_to_thread": False,
            "system": True,
            "labels": None,
            "quality": "unreadable",
        },
    ]


def test_stacks_index_frames() -> None:
    made = document(make_snapshot(ROWS))
    names = [[made["frames"][i]["function"] for i in stack] for stack in made["stacks"]]
    assert names == [["runtime.gopark", "main.main"], ["main.deep"]]
    assert made["frames"][made["stacks"][0][0]] == {
        "function": "runtime.gopark",
        "file": "/go/src/runtime/proc.go",
        "line": 402,
        "pc": PARK.pc,
        "inlined": False,
        "hidden": True,
        "offset": None,
    }


def test_the_rest() -> None:
    problem = Problem("torn", "goroutine 17", "moved while its stack was read, 3 tries")
    made = document(
        make_snapshot(
            problems=(problem,),
            host="web-3",
            redacted=True,
            timings_ns={"stacks": 5},
            elided={4: (50, 900)},
        )
    )
    del made["goroutines"], made["frames"], made["stacks"]
    assert made == {
        "schema": "spyglass.snapshot/1",
        "spyglass_version": spyglass.__version__,
        "taken_at": "2026-11-20T06:20:00.123456Z",
        "took_ns": 12_345_678,
        "timings_ns": {"stacks": 5},
        "chosen_from": None,
        "chosen_from_system": None,
        "host": "web-3",
        "redacted": True,
        "source": {"kind": "process", "stopped": False, "stopped_ns": None},
        "elided": [{"stack": 4, "after": 50, "frames": 900}],
        "process": {
            "pid": 1234,
            "exe": "/usr/bin/prometheus",
            "cmdline": ["prometheus", "--config.file=p.yml"],
            "started_at": "2026-11-20T05:00:00Z",
            "uptime_seconds": 4800.1,
            "go_version": "go1.24.4",
            "module": "github.com/prometheus/prometheus",
            "module_version": "v3.1.0",
            "build_id": "0123456789abcdef0123456789abcdef01234567",
            "arch": "amd64",
            "stripped": True,
            "pie": False,
            "cgo": True,
            "rss_bytes": 104857600,
            "container": None,
            "memory_limit_bytes": None,
            "library": None,
            "container_name": None,
            "pod": None,
            "namespace": None,
            "pod_uid": None,
        },
        "scheduler": {
            "gomaxprocs": 2,
            "goroutines": 44,
            "system_goroutines": 5,
            "run_queue": 0,
            "idle_ps": 1,
            "idle_ms": 2,
            "spinning_ms": 0,
            "freed_ms": 0,
            "gc_waiting": False,
        },
        "processors": [
            {
                "id": 0,
                "status": "idle",
                "schedtick": 642,
                "syscalltick": 81,
                "run_queue": 0,
                "m": None,
                "tid": None,
            },
            {
                "id": 1,
                "status": "running",
                "schedtick": 7001,
                "syscalltick": 9,
                "run_queue": 3,
                "m": 2,
                "tid": 1236,
            },
        ],
        "threads": [
            {
                "tid": 1234,
                "name": "prometheus",
                "os_state": "sleeping",
                "m": 0,
                "goroutine": None,
                "p": None,
                "spinning": False,
                "locked_goroutine": None,
                "runs": None,
                "stack": None,
                "cpu_ns": None,
                "recent_cpu_ns": None,
            },
            {
                "tid": 1236,
                "name": "prometheus",
                "os_state": "running",
                "m": 2,
                "goroutine": 17,
                "p": 1,
                "spinning": False,
                "locked_goroutine": 17,
                "runs": None,
                "stack": None,
                "cpu_ns": None,
                "recent_cpu_ns": None,
            },
            {
                "tid": 1240,
                "name": "c-worker",
                "os_state": "sleeping",
                "m": None,
                "goroutine": None,
                "p": None,
                "spinning": False,
                "locked_goroutine": None,
                "runs": None,
                "stack": None,
                "cpu_ns": None,
                "recent_cpu_ns": None,
            },
        ],
        "memory": {
            "heap_in_use_bytes": 12_897_485,
            "heap_idle_bytes": 4194304,
            "heap_released_bytes": 1048576,
            "stacks_in_use_bytes": 1_258_291,
            "heap_goal_bytes": 20971520,
            "gc_count": 142,
            "gc_pause_total_ns": 30_123_456,
            "last_gc_at": "2026-11-20T06:19:48Z",
            "last_gc_pause_ns": 120_000,
            "gogc_percent": 100,
            "memory_limit_bytes": None,
            "recent_gc_count": None,
        },
        "cpu": None,
        "findings": [
            {
                "kind": "problems",
                "severity": "info",
                "title": "torn: goroutine 17: moved while its stack was read, 3 tries",
                "detail": None,
                "goroutines": None,
                "examples": [],
                "functions": [],
                "next": "spyglass summary --pid 1234 --debug",
                "objects": [],
            }
        ],
        "problems": [
            {
                "kind": "torn",
                "subject": "goroutine 17",
                "detail": "moved while its stack was read, 3 tries",
            }
        ],
    }


def nothing_known() -> Snapshot:
    """As little as can be known of a program."""
    empty = dict.fromkeys(SCHEDULER.__slots__)
    return make_snapshot(
        [Row(7)],
        scheduler=type(SCHEDULER)(**empty),
        memory=type(MEMORY)(**dict.fromkeys(MEMORY.__slots__)),
        process=replace(
            PROCESS,
            exe=None,
            cmdline=(),
            started_at=None,
            uptime_seconds=None,
            go_version=None,
            module=None,
            module_version=None,
            build_id=None,
            cgo=None,
            rss_bytes=None,
        ),
        processors=(),
        threads=(),
    )


@pytest.mark.parametrize(
    "snapshot",
    [
        make_snapshot(ROWS, elided={0: (1, 2)}),
        make_snapshot(),
        nothing_known(),
        make_snapshot(limits=LIMITS),
    ],
)
def test_documents_follow_the_schema_and_it_knows_all_of_them(snapshot: Snapshot) -> None:
    made = document(snapshot)
    VALIDATOR.validate(made)
    assert undocumented(made, SCHEMA) == []


def test_a_field_that_the_schema_does_not_know_would_be_found() -> None:
    made = document(make_snapshot(ROWS))
    made["process"]["color"] = "red"
    made["goroutines"][1]["created_by"]["pc"] = 1
    assert undocumented(made, SCHEMA) == [".process.color", ".goroutines[].created_by.pc"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "sleeping"),
        ("waiting_ns", -1),
        ("created_by", {"function": "f"}),
        ("m", "2"),
        ("labels", {"k": 1}),
    ],
)
def test_the_schema_refuses_what_is_wrong(name: str, value: object) -> None:
    made = document(make_snapshot(ROWS))
    made["goroutines"][0][name] = value
    with pytest.raises(ValidationError):
        VALIDATOR.validate(made)


def test_without_stacks_no_goroutine_has_one() -> None:
    top = make_snapshot([replace(row, stack=None) for row in ROWS])
    made = document(top)
    assert made["stacks"] == []
    assert {g["stack"] for g in made["goroutines"]} == {None}
    VALIDATOR.validate(made)


def test_moments_are_in_utc() -> None:
    there = datetime(2026, 11, 20, 12, 0, tzinfo=timezone(timedelta(hours=7)))
    assert document(make_snapshot(taken_at=there))["taken_at"] == "2026-11-20T05:00:00Z"


@pytest.mark.parametrize("count", [0, 1, 16384, 40_000])
def test_what_is_written_is_the_document(count: int) -> None:
    rows = [replace(ROWS[i % len(ROWS)], id=i) for i in range(count)]
    snapshot = make_snapshot(rows)
    assert json.loads(written(snapshot)) == document(snapshot)


@pytest.mark.parametrize("count", [1, 16384, 16385, pytest.param(40_000, marks=pytest.mark.slow)])
def test_so_many_stacks_are_written_in_parts(count: int) -> None:
    rows = [Row(i, stack=(replace(DEEP, pc=i), MAIN)[: 1 + i % 2]) for i in range(count)]
    snapshot = make_snapshot(rows)
    loaded = json.loads(written(snapshot))
    assert loaded == document(snapshot)
    assert len(loaded["stacks"]) == count
    last = loaded["stacks"][loaded["goroutines"][-1]["stack"]]
    assert loaded["frames"][last[0]]["pc"] == count - 1


def test_a_part_says_of_what_it_is_one() -> None:
    part = document(subset(make_snapshot(ROWS), np.array([2])))
    VALIDATOR.validate(part)
    assert (part["chosen_from"], part["chosen_from_system"]) == (4, 1)
    assert [g["id"] for g in part["goroutines"]] == [18]
    assert [len(stack) for stack in part["stacks"]] == [2]
    assert {frame["function"] for frame in part["frames"]} == {
        "runtime.gopark",
        "main.main",
        "main.deep",
    }


def test_what_is_written_is_one_line_without_anything_for_a_terminal_to_obey() -> None:
    hostile = "\x1b]0;owned\x07\x7f\x9b31m\u202e\n\"'\\"
    where, stack = frame(hostile, hostile), (frame(hostile),)
    rows = [Row(1, wait_reason=hostile, where=where, stack=stack, labels={hostile: hostile})]
    problem = Problem("torn", hostile, hostile)
    snapshot = make_snapshot(
        rows, process=replace(PROCESS, exe=hostile, cmdline=(hostile,)), problems=(problem,)
    )
    text = written(snapshot)
    assert text.endswith("}\n")
    assert text[:-1].isascii()
    assert text[:-1].isprintable()
    loaded = json.loads(text)
    assert loaded["process"]["cmdline"] == [hostile]
    assert loaded["goroutines"][0]["where"]["function"] == hostile
    assert loaded["goroutines"][0]["labels"] == {hostile: hostile}
    VALIDATOR.validate(loaded)


def test_bytes_that_are_not_utf8_do_not_make_the_document_unreadable() -> None:
    process = replace(PROCESS, cmdline=("a\udcffb", "lone\ud800"), exe="/bin/\udc80")
    text = written(make_snapshot([Row(1, where=frame("main.\udcfe"))], process=process))
    loaded = json.loads(text)
    json.dumps(loaded, ensure_ascii=False).encode()
    assert loaded["process"]["exe"] == r"/bin/\x80"
    assert loaded["process"]["cmdline"] == [r"a\xffb", r"lone\ud800"]
    assert loaded["goroutines"][0]["where"]["function"] == r"main.\xfe"
