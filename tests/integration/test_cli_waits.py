"""``spyglass waits`` as users run it, on a program with a deadlock, a convoy and a leak."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.command import on_terminal, piped
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]

SCHEMA = json.loads(files("spyglass.export").joinpath("waits.schema.json").read_text())


@pytest.fixture(scope="module")
def knots() -> Iterator[GoProcess]:
    options = ("-deadlock", "-convoy", "12", "-leak", "30")
    with start("knots", NEWEST, Flavour.STRIPPED, *options) as process:
        yield process


def output(*arguments: str) -> str:
    ran = piped(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def document(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output("waits", *arguments, "--json"))
    Draft202012Validator(SCHEMA).validate(found)
    return found


def test_the_largest_group_is_first(knots: GoProcess) -> None:
    blocks = output("waits", "--pid", str(knots.pid)).split("\n\n")
    assert blocks[1].startswith("   30  send      chan int  30 channels")
    assert "          30  main.askCarrier.func1 programs/knots.go:" in blocks[1]
    assert blocks[2].startswith("   12  mutex     ")
    assert "          12  main.(*pool).get programs/knots.go:" in blocks[2]
    text = "\n\n".join(blocks)
    assert text.count("  mutex  ") == 3
    assert text.count("  read  ") == 2
    assert text.count("  accept  ") == 1


def test_on_a_terminal_of_80_columns(knots: GoProcess) -> None:
    text = on_terminal("waits", "--pid", str(knots.pid), width=80, height=24)
    assert "main.askCarrier" in text


def test_the_document_fits_its_schema_and_has_all_that_wait(knots: GoProcess) -> None:
    found = document("--pid", str(knots.pid))
    waiting = {each["id"]: each for each in found["goroutines"]}
    listed = json.loads(output("dump", "--pid", str(knots.pid), "--json"))["goroutines"]
    assert {each["id"] for each in listed if each["status"] == "waiting"} <= waiting.keys()
    objects = {each["id"]: each for each in found["objects"]}
    for each in waiting.values():
        for wait in each["waits_on"]:
            assert each["id"] in objects[wait["object"]]["waiters"]
    sends = [each for each in objects.values() if each["type"] == "chan int"]
    assert len(sends) == 30
    assert all(each["kind"] == "channel" and len(each["waiters"]) == 1 for each in sends)
    peers = [each for each in objects.values() if each["kind"] == "fd" and each["remote"]]
    assert {each["connection"] for each in peers} == {"ESTABLISHED"}
    ends = {(each["local"], each["remote"]) for each in peers}
    assert ends == {(remote, local) for local, remote in ends}


def test_a_saved_snapshot_says_the_same(knots: GoProcess, tmp_path: Path) -> None:
    file = str(tmp_path / "x.json.gz")
    output("snapshot", "--pid", str(knots.pid), "-o", file)
    saved, now = document(file), document("--pid", str(knots.pid), "--no-heap")
    for part in ("objects", "goroutines"):
        assert [_lasting(each) for each in saved[part]] == [_lasting(each) for each in now[part]]


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    """`record` without what changes with time."""
    changing = ("waiting_ns", "due_in_ns", "deadline_in_ns")
    return {name: value for name, value in record.items() if name not in changing}


def test_redacted_it_has_no_address_of_a_peer(knots: GoProcess, tmp_path: Path) -> None:
    file = str(tmp_path / "x.json.gz")
    output("snapshot", "--pid", str(knots.pid), "--redact", "-o", file)
    for arguments in (
        [file],
        [file, "--json"],
        [file, "--dot"],
        ["--pid", str(knots.pid), "--redact"],
    ):
        assert "127.0.0.1" not in output("waits", *arguments)


def test_a_goroutine_and_an_object(knots: GoProcess) -> None:
    found = document("--pid", str(knots.pid), "--function", r"main\.\(\*pool\)\.get")
    (mutex,) = (each for each in found["objects"] if len(each["waiters"]) == 12)
    goroutine = mutex["waiters"][3]
    text = output("waits", "--pid", str(knots.pid), "--goroutine", str(goroutine))
    assert text.startswith(f"goroutine {goroutine}: main.(*pool).get programs/knots.go:")
    text = output("waits", "--pid", str(knots.pid), "--object", mutex["address"])
    assert text.startswith("   12  mutex     ")
    assert f" {', '.join(map(str, mutex['waiters']))}" in text  # in the order of the queue


def test_the_graph(knots: GoProcess) -> None:
    text = output("waits", "--pid", str(knots.pid), "--dot", "--function", "main.askCarrier")
    assert text.startswith("digraph waits {")
    assert '[label="30 goroutines\\nmain.askCarrier.func1"' in text


def test_stopped_it_says_for_how_long(knots: GoProcess) -> None:
    ran = piped("waits", "--pid", str(knots.pid), "--stop", "--no-heap")
    assert ran.returncode == 0
    assert "while the program was stopped, for " in ran.stderr


def holders_of(found: dict[str, Any], name: str) -> list[int]:
    """The goroutines that hold the object called `name`."""
    (thing,) = (each for each in found["objects"] if each["name"] == name)
    return [holder["goroutine"] for holder in thing["holders"]]


def test_findings_are_first_the_worst_first(knots: GoProcess) -> None:
    lines = output("waits", "--pid", str(knots.pid)).splitlines()
    severities = [line.split()[0] for line in lines if line.startswith(("critical", "warning"))]
    assert severities == ["critical", "warning", "warning"]
    assert "hold what the other wants: " in lines[0]
    assert "main.(*ledger).mu" in lines[0]
    assert "main.(*cache).mu" in lines[0]
    assert any(line.startswith("waiting    47 goroutines  stuck ") for line in lines)


def test_the_chain_from_a_goroutine_leads_to_the_peer(knots: GoProcess) -> None:
    found = document("--pid", str(knots.pid))
    (holder,) = holders_of(found, "main.(*pool).mu")
    (pool,) = (each for each in found["objects"] if each["name"] == "main.(*pool).mu")
    goroutine = pool["waiters"][0]
    lines = output("waits", "--pid", str(knots.pid), "--goroutine", str(goroutine)).splitlines()
    assert lines[0].startswith(f"goroutine {goroutine}: main.(*pool).get ")
    assert lines[1].strip().startswith("waits for mutex main.(*pool).mu")
    assert lines[2].strip().startswith(f"held by goroutine {holder}: main.(*pool).refresh ")
    assert lines[2].endswith("(deferred unlock pending)")
    assert lines[3].strip().startswith("which waits for a read from 127.0.0.1:")
    assert lines[4].strip().startswith("in the end stuck behind: ")


def test_a_deadlock_in_the_document(knots: GoProcess) -> None:
    found = document("--pid", str(knots.pid))
    (deadlock,) = found["deadlocks"]
    names = {each["id"]: each["name"] for each in found["objects"]}
    assert {names[number] for number in deadlock["objects"]} == {
        "main.(*ledger).mu",
        "main.(*cache).mu",
    }
    for goroutine, number in zip(deadlock["goroutines"], deadlock["objects"], strict=True):
        (wait,) = next(each for each in found["goroutines"] if each["id"] == goroutine)["waits_on"]
        assert wait["object"] == number
        assert goroutine not in holders_of(found, names[number])
    verdicts = {each["id"]: each["verdict"] for each in found["goroutines"]}
    assert {verdicts[goroutine] for goroutine in deadlock["goroutines"]} == {"deadlock"}
    assert all(each["objects"] for each in found["findings"] if each["kind"] == "deadlock")


def test_only_what_is_stuck(knots: GoProcess) -> None:
    text = output("waits", "--pid", str(knots.pid), "--stuck")
    assert "main.askCarrier.func1" in text
    assert "main.(*cache).update" in text
    assert "main.(*pool).get" not in text
    assert "  accept  " not in text


def test_limits_for_scripts(knots: GoProcess) -> None:
    for limit, status in (("deadlock", 3), ("stuck>10", 3), ("stuck>40", 0)):
        assert piped("waits", "--pid", str(knots.pid), "--fail-on", limit).returncode == status


@pytest.mark.matrix
def test_every_version_says_the_same(minor: str) -> None:
    with start(
        "knots", minor, Flavour.STRIPPED, "-deadlock", "-convoy", "12", "-leak", "30"
    ) as process:
        found = document("--pid", str(process.pid))
    assert len(found["deadlocks"]) == 1
    (holder,) = holders_of(found, "main.(*pool).mu")
    by_id = {each["id"]: each for each in found["goroutines"]}
    assert by_id[holder]["verdict"] == "waits"
    behind = [each for each in by_id.values() if each["behind"] == holder]
    assert len(behind) == 12
    assert {each["verdict"] for each in behind} == {"stuck_behind"}
    sends = [
        each
        for each in found["objects"]
        if each["kind"] == "channel" and each["type"] == "chan int"
    ]
    assert len(sends) == 30
