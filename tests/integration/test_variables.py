"""Values of package-level variables are those that the program has given them."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import spyglass
from spyglass import cli
from spyglass.errors import SpyglassError
from spyglass.go_value import Limits, Value
from spyglass.inspector import Inspector
from tests.cores import gcore
from tests.support import MATRIX, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

EVERYTHING = Limits(elements=2000, depth=6)
ORIGIN = {
    "Name": "origin", "Ports": None, "limits": {"Rate": 0.0, "Burst": 0}, "Labels": None, "next": None,
    "handler": None, "Any": None, "Err": None, "raw": [0, 0, 0], "Done": None, "_": 0,
}  # fmt: skip
CONFIG = {
    "Name": "edge", "Ports": [80, 443], "limits": {"Rate": 1.5, "Burst": 20}, "Labels": {"zone": "eu"}, "next": ORIGIN,
    "handler": "main.double", "Any": {"Rate": 3.0, "Burst": 4}, "Err": {"s": "closed"}, "raw": [1, -2, 3],
    "Done": (0, 0), "_": 0,
}  # fmt: skip
BIG = ([1, *[0] * 39], [2, *[0] * 39])
VALUES = {
    "counter": ("int", -42), "small": ("int8", -7), "ratio": ("float64", 0.25), "half": ("float32", 0.5),
    "flag": ("bool", True), "current": ("main.state", 3), "z": ("complex128", (1.0, -2.0)),
    "greeting": ("string", 'hello\x1b[31m "world"\n'), "empty": ("string", ""),
    "words": ("[]string", ["alpha", "beta", ""]), "nothing": ("[]int", None),
    "matrix": ("[2][2]int", [[1, 2], [3, 4]]), "few": ("map[string]int", {"one": 1, "two": 2, "three": 3}),
    "many": ("map[int]string", {i: f"value {i}" for i in range(1000) if i % 3 or i >= 300}),
    "wide": ("map[main.big]main.big", [BIG]), "set": ("map[main.point]struct {}", [({"x": 1, "y": 2}, {})]),
    "noMap": ("map[string]int", None), "nilPointer": ("*main.server", None), "config": ("*main.server", CONFIG),
    "whole": ("main.server", CONFIG), "anything": ("interface {}", 17),
    "holder": ("interface {}", {"Rate": 2.5, "Burst": 10}), "fault": ("error", {"s": "broken pipe"}),
    "noError": ("error", None), "apply": ("func(int) int", "main.double"), "address": ("uintptr", 0x1234),
    "numbers": ("chan int", (1, 3)),
}  # fmt: skip


@pytest.fixture(scope="module", params=MATRIX)
def minor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def process(minor: str) -> Iterator[GoProcess]:
    with start("variables", minor, Flavour.PIE) as process:
        yield process


@pytest.fixture(scope="module")
def stripped(minor: str) -> Iterator[GoProcess]:
    with start("variables", minor, Flavour.STRIPPED) as process:
        yield process


def plain(value: Value) -> Any:
    """What Go's own printing would show: nil is None, channels are length and capacity."""
    assert value.problem is None, value
    assert not value.cut, value
    if value.kind in CONTAINERS:
        return CONTAINERS[value.kind](value)
    if value.target is not None:
        return plain(value.target)
    if value.kind == "chan" and value.address:
        return value.length, value.capacity
    return value.function or (value.text if value.number is None else value.number)


def _entries(value: Value) -> Any:
    pairs = [(plain(key), plain(each)) for key, each in value.entries]
    assert len(pairs) == value.length
    if not value.address:
        return None
    return pairs if isinstance(pairs[0][0], dict | list) else dict(pairs)


CONTAINERS = {
    "struct": lambda value: {name: plain(inner) for name, inner in value.fields},
    "array": lambda value: [plain(each) for each in value.elements],
    "slice": lambda value: [plain(each) for each in value.elements] if value.address else None,
    "map": _entries,
}


def one(program: Inspector, name: str, limits: Limits | None = None, **options: Any) -> Value:
    found = program.variables(name, limits=limits, **options)
    assert found.problems == ()
    return found.variables[0].value


def test_values_are_those_that_the_program_has_given(process: GoProcess) -> None:
    with spyglass.attach(process.pid) as program:
        read = program.variables(*(f"main.{name}" for name in VALUES), limits=EVERYTHING)
        named = program.variables("main.config", "main.counter", stop=True).variables
        address = int(process.ask("address counter"), 16)
        raw = one(program, "main.raw")
    found = dict(zip(VALUES, (each.value for each in read.variables), strict=True))
    assert {name: (value.type, plain(value)) for name, value in found.items()} == VALUES
    assert read.problems == ()
    assert [each.name for each in named] == ["main.config", "main.counter"]
    assert named[1].address == address
    assert raw.address == int(process.ask("heap config"), 16) == found["config"].address


def test_what_is_too_much_is_cut(process: GoProcess) -> None:
    with spyglass.attach(process.pid) as program:
        few = Limits(elements=5, text_bytes=10, depth=1)
        many, config = one(program, "main.many", few), one(program, "main.config", few)
        long, ring = one(program, "main.long", few), one(program, "main.ring", Limits(depth=9))
        hidden = one(program, "main.config", Limits(redact=True))
    assert (many.length, len(many.entries), many.cut) == (900, 5, True)
    assert (long.length, long.text, long.cut) == (100_000, "".join(map(chr, range(10))), True)
    assert config.target is not None
    fields = dict(config.target.fields)
    assert fields["next"].cut
    assert fields["next"].target is None
    held = fields["Any"].target
    assert held is not None
    assert (held.type, held.fields, held.cut) == ("main.limits", (), True)
    assert ring.target is not None
    around = dict(ring.target.fields)["next"]
    assert (around.address, around.target, around.cut) == (ring.address, None, True)
    assert hidden.target is not None
    name = dict(hidden.target.fields)["Name"]
    assert (name.text, name.length) == (None, 4)


def test_texts_that_are_not_utf8_show_their_bytes(process: GoProcess) -> None:
    with spyglass.attach(process.pid) as program:
        value = one(program, "main.invalid")
        shown = one(program, "main.keys")
    assert (value.text, value.escaped, value.length) == (r"a\\\xff", True, 3)
    ((key, _),) = shown.entries
    assert key.target is not None
    assert (key.target.text, key.target.escaped) == ("one", False)


def test_variables_are_listed_with_types(process: GoProcess) -> None:
    with spyglass.attach(process.pid) as program:
        names = {each.name: each for each in program.variable_names(r"^main\.")}
    assert {f"main.{name}" for name in VALUES} <= set(names)
    for name, (kind, _) in VALUES.items():
        assert names[f"main.{name}"].type == kind
    assert names["main.counter"].size_bytes == 8


def test_a_stripped_program_is_read_by_address_and_type(stripped: GoProcess) -> None:
    config, counter, many = (
        stripped.ask(each) for each in ("heap config", "address counter", "address many")
    )
    with spyglass.attach(stripped.pid) as program:
        server = one(program, config, EVERYTHING, type_name="main.server")
        number = one(program, counter, type_name="int")
        entries = one(program, many, EVERYTHING, type_name="map[int]string")
        pair = one(program, counter, type_name="[1]*[2]uint8")
        with pytest.raises(SpyglassError, match=r"2 different types .* are called main\.twin"):
            program.variables(counter, type_name="main.twin")
        with pytest.raises(SpyglassError, match="no symbols"):
            program.variables("main.counter")
        with pytest.raises(SpyglassError, match=r"what is at 0x.* is not known"):
            program.variables(counter)
        with pytest.raises(SpyglassError, match=r"no description of the type main\.nothing"):
            program.variables(counter, type_name="main.nothing")
        with pytest.raises(SpyglassError, match="no symbols"):
            program.variable_names("main")
    assert plain(server) == CONFIG
    assert plain(number) == -42
    assert (entries.type, plain(entries)) == VALUES["many"]
    assert pair.elements[0].target is not None
    assert pair.elements[0].target.problem == "its memory cannot be read"


def test_the_command_shows_values(process: GoProcess, capsys: pytest.CaptureFixture[str]) -> None:
    pid = str(process.pid)
    assert (
        cli.run(["var", pid, "main.config", "main.greeting", "main.many", "--elements", "2"]) == 0
    )
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[1:4] == [
        '  Name string = "edge"',
        "  Ports []uint16 = [80 443]",
        "  limits main.limits",
    ]
    assert r'main.greeting string = "hello\x1b[31m \"world\"\n"' in lines
    assert lines[-1] == "  … 898 more"
    assert "\x1b" not in shown.out
    assert "what the program has in its memory" in shown.err
    assert cli.run(["var", "--pid", pid, "main.config", "main.z", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    text = (
        importlib.resources.files("spyglass.export").joinpath("variables.schema.json").read_text()
    )
    Draft202012Validator(json.loads(text)).validate(document)
    assert document["variables"][1]["value"]["number"] == [1.0, -2.0]
    assert cli.run(["var", pid, "main.words", "--redact"]) == 0
    assert capsys.readouterr().out == "main.words []string = [(5 bytes) (4 bytes) (0 bytes)]\n"
    assert cli.run(["var", pid, "--list", r"^main\.f"]) == 0
    assert [line.split()[2:] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["main.fault", "error"],
        ["main.few", "map[string]int"],
        ["main.flag", "bool"],
    ]
    for arguments, status, complaint in (
        (["var", pid, "main.nothere"], 1, "the program has no variable main.nothere"),
        (["var", pid], 2, "name variables, or give --list"),
        (["var"], 2, "no target given"),
        (["var", pid, "--list", "("], 2, "not a regular expression"),
        (["var", pid, "--list", "^nothing$"], 1, "no variable has a name that matches"),
    ):
        assert cli.run(arguments) == status
        assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_a_core_has_them_too(tmp_path: Path) -> None:
    with start("variables", MATRIX[-1], Flavour.EXE) as process:
        core = gcore(process.pid, tmp_path)
    with spyglass.open_core(str(core)) as program:
        assert plain(one(program, "main.config", EVERYTHING)) == CONFIG
