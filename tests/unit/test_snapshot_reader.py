"""Reading what was saved: whole, and refused where it does not fit, whatever it is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from msgspec import Struct, structs

from spyglass.errors import BadDataError
from spyglass.export import account_types, document, schema_types
from spyglass.export.snapshot_reader import snapshot_of
from spyglass.memory_account import CLASSES
from spyglass.model import Frame, Snapshot
from tests.mutants import BASE, JUNK, changed, paths
from tests.saved import INLINED, MAIN, ROWS, START, WORK, differences, text_of, with_everything
from tests.snapshots import PROCESS, Row, make_snapshot

SCHEMA = json.loads(files("spyglass.export").joinpath("snapshot.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def read(made: dict[str, Any]) -> Snapshot:
    return snapshot_of(json.dumps(made).encode())


def test_what_was_written_is_read() -> None:
    assert differences(snapshot_of(text_of(with_everything())), with_everything()) == []
    assert differences(snapshot_of(text_of(make_snapshot())), make_snapshot()) == []


def test_a_difference_would_be_found() -> None:
    for change, where in (
        ({"waiting_ns": 8}, "waiting_ns"),
        ({"start": None}, "start"),
        ({"call": None}, "call"),
        ({"labels": {}}, "labels"),
        ({"wait_reason": "sleep"}, "wait_reason"),
    ):
        other = make_snapshot([replace(row, **change) for row in ROWS], host="web-3")
        found = differences(make_snapshot(ROWS), other)
        assert f"goroutines.{where}" in found
        assert "host" in found
    others = make_snapshot([replace(row, stack=(MAIN,)) for row in ROWS])
    assert "stacks" in differences(make_snapshot(ROWS), others)


def test_columns_are_of_their_types() -> None:
    expected, found = (
        make_snapshot(ROWS).goroutines,
        snapshot_of(text_of(with_everything())).goroutines,
    )
    for name in type(expected).columns():
        assert getattr(found, name).dtype == getattr(expected, name).dtype


def test_places_without_the_number_of_their_frame_are_found_by_their_line() -> None:
    made = document(with_everything())
    for goroutine in made["goroutines"]:
        for place in filter(None, map(goroutine.get, ("where", "call", "start", "created_by"))):
            del place["frame"]
    made["goroutines"][0]["start"] |= {"line": 148}
    found = read(made)
    first = found.goroutine(0)
    assert (first.where, first.start) == (MAIN, Frame(START.function, START.file, 148, pc=0))
    assert found.goroutine(1).where in (INLINED, WORK)
    assert len(found.frames) == len(make_snapshot(ROWS).frames) + 1


def test_a_document_as_the_contract_shows_it_is_read() -> None:
    """Fields that came later may be missing, and others may have come."""
    made = document(make_snapshot(ROWS[:1]))
    for name in ("timings_ns", "host", "redacted", "chosen_from", "elided"):
        del made[name]
    for name in ("cgo", "memory_limit_bytes", "library"):
        del made["process"][name]
    del made["source"]["stopped_ns"], made["frames"][0]["offset"]
    del made["goroutines"][0]["where"], made["goroutines"][0]["call"], made["processors"][0]["tid"]
    made["later"] = {"much": [1, {"more": None}]}
    made["goroutines"][0]["later"] = [[]]
    VALIDATOR.validate(made)
    found = read(made)
    assert (found.host, found.redacted, found.matched_of) == (None, False, None)
    assert (found.goroutine(0).where, found.goroutine(0).call) == (None, None)


# Whatever is changed: refused if and only if the schema or sense refuses it, and where.


def makes_sense(made: dict[str, Any]) -> bool:
    """What no schema can say: numbers are of things that are there, moments are in the calendar."""
    frames, stacks = made["frames"], made["stacks"]
    lines = [(f["function"], f["file"], f["line"]) for f in frames]
    of_threads = [thread.get("stack") or [] for thread in made["threads"]]
    indices = [i < len(frames) for stack in [*stacks, *of_threads] for i in stack]
    for g in made["goroutines"]:
        indices.append((g["stack"] or 0) < max(len(stacks), g["stack"] is None))
        for place in filter(None, (g.get("where"), g.get("call"), g["start"], g["created_by"])):
            i = place.get("frame")
            line = place["function"], place["file"], place["line"]
            indices.append(i is None or (i < len(lines) and lines[i] == line))
    gaps = [(gap["stack"], gap["after"]) for gap in made.get("elided", [])]
    gaps_fit = (at < len(stacks) and after <= len(stacks[at]) for at, after in gaps)
    return all(indices) and all(gaps_fit) and sums_up(made.get("memory_account"))


def sums_up(account: dict[str, Any] | None) -> bool:
    if account is None:
        return True
    parts = account["resident"]
    within = (
        max(each.get(name, 0) for name in ("doubtful_bytes", "lazy_free_bytes")) <= each["bytes"]
        for each in parts
    )
    return account["rss_bytes"] in (None, sum(each["bytes"] for each in parts)) and all(within)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("rss_bytes",), 2999, "/memory_account/rss_bytes: it is not the sum of resident"),
        (
            ("resident", 1, "lazy_free_bytes"),
            501,
            "/memory_account/resident/1: more than all of it",
        ),
        (
            ("resident", 0, "doubtful_bytes"),
            1001,
            "/memory_account/resident/0: more than all of it",
        ),
        (("resident", 0, "part"), "gold", "/memory_account/resident/0/part"),
        (("resident",), [{"part": "c", "bytes": 1, "source": ""}] * 65, "/memory_account/resident"),
        (("mappings", 0, "address"), -1, "/memory_account/mappings/0/address"),
        (("taken_at",), "yesterday", "/memory_account/taken_at"),
        (("go", "classes", "total"), 2**63, "/memory_account/go/classes"),
        (("go", "gc", "last_at"), "2026-13-01T00:00:00Z", "/memory_account/go/gc/last_at"),
        (("go", "gc", "pauses_ns"), [1] * 257, "/memory_account/go/gc/pauses_ns"),
        (("go", "gc", "cpu_fraction"), 1.5, "/memory_account/go/gc/cpu_fraction"),
    ],
)
def test_accounts_of_memory_that_cannot_be(
    path: tuple[str | int, ...], value: Any, complaint: str
) -> None:
    made = changed(json.loads(text_of(with_everything())), ("memory_account", *path), value)
    assert (complaint_about(made) or "").startswith(complaint)


def test_an_account_has_the_classes_that_are_known_and_no_others() -> None:
    made = json.loads(text_of(with_everything()))
    made["memory_account"]["go"]["classes"] = {"total": 5, "heap/gold": 7}
    account = read(made).account
    assert account is not None
    assert account.go.classes == dict.fromkeys(CLASSES) | {"total": 5}


def test_old_documents_have_no_account() -> None:
    made = json.loads(text_of(with_everything()))
    for missing in (None, ...):
        found = read(changed(made, ("memory_account",), missing))
        assert (found.account, found.memory) == (None, with_everything().memory)


@pytest.mark.parametrize("section", [None, *BASE])
@pytest.mark.slow
def test_it_refuses_what_the_schema_refuses_and_nothing_else(section: str | None) -> None:
    agreed = {True: 0, False: 0}
    validator = validator_of(section)
    for path in paths(BASE):
        if (path[0] if path else None) != section:
            continue
        for value in [*JUNK, *([...] if path and isinstance(path[-1], str) else [])]:
            made = changed(BASE, path, value)
            fits = validator.is_valid(made)
            expected = fits and makes_sense(made)
            complaint = complaint_about(made)
            assert (complaint is None) is expected, (path, value, complaint)
            if complaint and path and not fits:
                assert_points_at(path, value, complaint)
            agreed[expected] += 1
    assert agreed[False] > 5
    assert agreed[True] > 0 or section in (None, "schema", "source", "scheduler", "memory")


def validator_of(section: str | None) -> Draft202012Validator:
    """Says the same of `BASE` where only `section` was changed, in a quarter of the time: the others fit."""
    if section is None:
        return VALIDATOR
    assert SCHEMA.keys() == {
        "$schema",
        "$id",
        "title",
        "description",
        "type",
        "required",
        "properties",
        "$defs",
    }
    parts = {name: part if name == section else True for name, part in SCHEMA["properties"].items()}
    return Draft202012Validator({**SCHEMA, "properties": parts})


def complaint_about(made: Any) -> str | None:
    try:
        read(made)
    except BadDataError as error:
        return error.message
    return None


def assert_points_at(path: tuple[str | int, ...], value: Any, message: str) -> None:
    """At what was changed, at something in it, or at what misses something."""
    if path[0] == "schema":
        assert "spyglass.snapshot/1" in message or "missing required field `schema`" in message
        return
    is_key_of_a_mapping = path[-2:-1] in [("labels",), ("timings_ns",), ("classes",)]
    steps = path[:-1] if value is ... or is_key_of_a_mapping else path
    pointer = "".join(f"/{step}" for step in steps)
    assert message.startswith(pointer or "the document"), (path, value, message)


def test_the_reader_knows_every_field_that_the_schema_has() -> None:
    """And which of them may be missing."""
    parts: dict[str, type[Struct]] = {
        "process": schema_types.Process, "scheduler": schema_types.Scheduler, "processor": schema_types.Processor,
        "thread": schema_types.Thread, "memory": schema_types.Memory, "goroutine": schema_types.Goroutine,
        "wait_object": schema_types.WaitObject, "waiters": schema_types.Waiters, "waits": schema_types.Waits,
        "looked_at": schema_types.LookedAt, "memory_account": account_types.MemoryAccount,
        "resident_part": account_types.ResidentPart, "resident_mapping": account_types.ResidentMapping,
        "go_memory": account_types.GoMemory,
        "problem": schema_types.Problem, "frame": schema_types.Frame, "framed_place": schema_types.FramedPlace,
    }  # fmt: skip
    described = {**{name: SCHEMA["$defs"][name] for name in parts}, "document": SCHEMA}
    parts["document"] = schema_types.Document
    for name, kind in parts.items():
        fields = {field.name: field.required for field in structs.fields(kind)}
        whole = [
            described[name],
            *([SCHEMA["$defs"]["place"]] if "allOf" in described[name] else []),
        ]
        properties = {name for part in whole for name in part["properties"]}
        required = {name for part in whole for name in part.get("required", [])}
        assert fields.keys() == properties
        assert {field for field, is_required in fields.items() if is_required} == required


@pytest.mark.parametrize("number", ["1.0", "1e3", "0.0"])
def test_whole_numbers_are_written_as_such(number: str) -> None:
    """The one thing that JSON Schema would let pass: nothing writes counts with a point."""
    text = text_of(with_everything()).replace(
        b'"took_ns": 12345678', f'"took_ns": {number}'.encode()
    )
    with pytest.raises(BadDataError, match="/took_ns: Expected `int`, got `float`"):
        snapshot_of(text)


@pytest.mark.parametrize(
    ("moment", "is_one"),
    [
        ("2026-11-20T06:20:00Z", True),
        ("2026-11-20T06:20:00.123456789Z", True),
        ("0001-01-01T00:00:00Z", True),
        ("9999-12-31T23:59:59.999999Z", True),
        ("2026-13-20T06:20:00Z", False),
        ("2026-02-30T06:20:00Z", False),
        ("2026-11-20T25:20:00Z", False),
        ("2026-11-20T06:20:00", False),
        ("2026-11-20T06:20:00+01:00", False),
        ("2026-11-20T06:20:00Z\n", False),
        ("٢٠٢٦-11-20T06:20:00Z", False),
        ("now", False),
    ],
)
def test_moments(moment: str, is_one: bool) -> None:
    made = BASE | {"taken_at": moment}
    if is_one:
        assert isinstance(read(made).taken_at, datetime)
    else:
        with pytest.raises(BadDataError, match=r"^/taken_at: "):
            read(made)
    memory = BASE["memory"] | {"last_gc_at": moment}
    if not is_one:
        with pytest.raises(BadDataError, match=r"^/memory/last_gc_at: "):
            read(BASE | {"memory": memory})


# Text that is not what it should be.

TEXT = text_of(with_everything())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (TEXT[:-1], "it is not JSON"),
        (TEXT + b"{}", "it is not JSON"),
        (TEXT.replace(b'"took_ns": 12345678', b'"took_ns": NaN'), "it is not JSON"),
        (TEXT.replace(b'"took_ns": 12345678', b'"took_ns": 012'), "it is not JSON"),
        (TEXT.replace(b"4800.1", b"Infinity"), "it is not JSON"),
        (TEXT.replace(b"4800.1", b"1e400"), "/process/uptime_seconds: "),
        (TEXT.replace(b"4800.1", b"1e300"), "/process/uptime_seconds: "),
        (TEXT.replace(b"12345678", b"9" * 5000), "/took_ns: "),
        (TEXT.replace(b"web-3", b"web-\xff"), "it is not JSON"),
        (TEXT.replace(b"web-3", b"web-\x01"), "it is not JSON"),
        (TEXT.replace(b"web-3", b"\\ud800"), "it is not JSON"),
        (b'{"later": ' + b"[" * 1_000_000, "it is nested too deeply"),
        (b'{"later": ' + b'{"a":' * 1_000_000, "it is nested too deeply"),
        (b'{"goroutines": ' + b"[" * 100_000, "/goroutines/0: "),
        (b"{}", "the document: Object missing required field `schema`"),
        (b'{"schema": "spyglass.ps/1"}', "it is not a spyglass.snapshot/1"),
        (b'{"schema": "' + b"x" * 1_000_000, "it is not"),
    ],
)
def test_text_that_is_refused(text: bytes, complaint: str) -> None:
    assert text != TEXT
    with pytest.raises(BadDataError) as caught:
        snapshot_of(text)
    assert caught.value.message.startswith(complaint)
    assert len(caught.value.message) < 300


def test_of_two_values_for_one_name_the_last_counts_and_is_checked() -> None:
    """As JavaScript has it, which reads what is in a report."""
    assert snapshot_of(TEXT.replace(b'"took_ns":', b'"took_ns": 5, "took_ns":')).took_ns == 12345678
    with pytest.raises(BadDataError, match=r"^/took_ns: "):
        snapshot_of(TEXT.replace(b'"took_ns":', b'"took_ns": 5, "took_ns": null, "x":'))


def test_claims_that_are_large_take_no_room() -> None:
    """A number of frames that were left out, an index, a count: they are numbers, no more."""
    made = BASE | {"elided": [{"stack": 0, "after": 0, "frames": 10**9}], "chosen_from": 10**18}
    assert read(made).elided == {0: (0, 10**9)}
    for path in (
        ("goroutines", 0, "stack"),
        ("stacks", 0, 1),
        ("goroutines", 0, "where", "frame"),
    ):
        with pytest.raises(BadDataError, match=f"^/{'/'.join(map(str, path))}: there is no "):
            read(changed(BASE, path, 10**9))


def test_more_reasons_than_can_be_numbered() -> None:
    goroutine = BASE["goroutines"][0]
    made = BASE | {"goroutines": [goroutine | {"wait_reason": f"r{i}"} for i in range(40_000)]}
    with pytest.raises(BadDataError, match=r"^/goroutines: 40,000 different reasons"):
        read(made)


def test_names_of_bytes_that_are_not_utf8_are_read_as_they_were_written() -> None:
    process = replace(PROCESS, exe="/bin/\udc80", cmdline=("a\udcffb",))
    found = snapshot_of(text_of(make_snapshot([Row(1)], process=process)))
    assert found.process.exe == r"/bin/\x80"
    assert found.process.cmdline == (r"a\xffb",)


def test_many_goroutines_share_what_they_have_in_common() -> None:
    rows = [replace(ROWS[i % 5], id=i + 1) for i in range(5_000)]
    found = snapshot_of(text_of(make_snapshot(rows)))
    assert len(found.goroutines) == 5_000
    assert len(found.label_sets) == 2
    assert len(found.frames) == len(make_snapshot(ROWS).frames)
    assert found.goroutines.id.tolist() == list(range(1, 5_001))
    assert np.array_equal(found.goroutines.labels[:5], [-1, 0, -1, -2, 1])
