"""Spans, types of objects, and what keeps objects alive, against what programs know of themselves.

The programs stand still while they are looked at: they wait for the next line of standard input, and collect no garbage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

import spyglass
from spyglass.heap_objects import HeapTypes
from spyglass.inspector import Inspector
from spyglass.runtime.heap.spans import Spans
from spyglass.runtime.heap.type_reader import TypeReader
from tests.command import piped
from tests.support import MATRIX, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]


@pytest.fixture(scope="module", params=MATRIX)
def minor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def objects(minor: str) -> Iterator[GoProcess]:
    with start("objects", minor, Flavour.STRIPPED, "-spans", "300") as process:
        yield process


def keeps_types(minor: str) -> bool:
    return int(minor.partition(".")[2]) >= 22


@pytest.fixture(scope="module")
def typed(minor: str) -> Iterator[GoProcess]:
    if not keeps_types(minor):
        pytest.skip("before Go 1.22 the runtime does not keep the types of objects")
    with start("typed", minor, Flavour.STRIPPED) as process:
        yield process


def test_spans_are_those_of_the_program(objects: GoProcess) -> None:
    own = dict(each.split(":") for each in objects.ask("sizes").split())
    with spyglass.attach(objects.pid) as inspector:
        spans = inspector.heap_spans()
    classes = spans.classes
    found: Counter[int] = Counter()
    for size, count in zip(classes.object_bytes.tolist(), classes.objects.tolist(), strict=True):
        found[size] += count
    expected = {int(size): int(count) for size, count in own.items() if size not in ("all", "0")}
    assert {size: found[size] for size in expected} == expected
    assert classes.used_bytes.sum() == int(own["all"])
    assert sum(expected.values()) > 1000
    blocks = np.flatnonzero((classes.object_bytes == 4096) & ~classes.pointers)
    assert (classes.spans[blocks] >= 300).all()
    assert (classes.unused_bytes[blocks] >= 299 * 4096).all()
    assert spans.problems == ()


def rows_of(types: HeapTypes) -> dict[str, tuple[int, str]]:
    return {row.type: (row.objects, row.certainty) for row in types.rows if row.type is not None}


def test_types_are_those_of_the_program(typed: GoProcess) -> None:
    own = {
        name: int(many)
        for name, _, many in (each.rpartition("=") for each in typed.ask("counts").split())
    }
    with spyglass.attach(typed.pid) as inspector:
        types = inspector.heap_types()
    found = rows_of(types)
    for name in (
        "main.big",
        "main.huge",
        "main.holder",
        "main.pair[string]",
        "main.pair[*main.big]",
        "[]*main.big",
        "[]main.big",
    ):
        assert found[name] == (own[name], "exact"), name
    assert found["main.unique"] == (own["main.unique"], "only candidate")
    (twins,) = (row for row in types.rows if "main.one" in row.candidates)
    assert set(twins.candidates) == {"main.one", "main.other"}
    assert (twins.certainty, twins.type) == ("candidates", None)
    assert twins.objects >= own["main.one"] + own["main.other"]
    assert types.examined_bytes == types.total_bytes
    assert 0.9 < types.covered_bytes / types.total_bytes < 1
    (plain,) = (row for row in types.rows if not row.pointers)
    assert (plain.type, plain.certainty) == (None, "unknown")
    assert plain.objects >= own["main.plain"]


def names_at(inspector: Inspector, address: int) -> tuple[str, tuple[str, ...]]:
    """How well the type of the object at `address` is known, and the types that it can be."""
    spans = Spans.read(inspector.runtime)
    reader = TypeReader(inspector.runtime, spans)
    (row,) = spans.find(np.array([address], np.uint64)).tolist()
    span = spans.select(np.array([row]))
    index = (address - int(span.start[0])) // int(span.object_bytes[0])
    found = reader.of_object(span, index)
    return found.certainty, reader.texts(found.each)


#: The runtime's structures behind channels and maps.
_OTHERS = {"hchan": {"runtime.hchan"}, "map": {"runtime.hmap", "maps.Map"}}


def test_candidates_have_the_true_type(typed: GoProcess) -> None:
    with spyglass.attach(typed.pid) as inspector:
        for each in typed.ask("objects").split():
            name, _, address = each.partition("@")
            certainty, names = names_at(inspector, int(address, 16))
            if name == "main.plain":
                assert (certainty, names) == ("unknown", ())
            elif names or certainty != "candidates":
                assert set(names) & _OTHERS.get(name, {name}), each


def test_nothing_is_named_where_the_runtime_keeps_no_types(objects: GoProcess, minor: str) -> None:
    with spyglass.attach(objects.pid) as inspector:
        types = inspector.heap_types()
    if keeps_types(minor):
        assert rows_of(types)["main.item"][1] == "exact"
        return
    assert types.why_not == "before Go 1.22 the runtime does not keep the types of objects"
    assert rows_of(types) == {}
    assert types.covered_bytes == 0


def test_the_time_is_bounded(typed: GoProcess) -> None:
    parts: list[float] = []
    with spyglass.attach(typed.pid) as inspector:
        none = inspector.heap_types(seconds=0)
        inspector.heap_types(progress=parts.append)
    assert rows_of(none) == {}
    assert 0 < none.examined_bytes < none.total_bytes
    assert parts == sorted(parts)
    assert parts[-1] == 1


@pytest.mark.slow
def test_the_command_shows_them(typed: GoProcess) -> None:
    shown = piped("memory", str(typed.pid), "--types")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["187.5", "KiB", "300", "640", "B", "exact", "main.big"] in lines
    shown = piped("memory", str(typed.pid), "--spans")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "objects of  pointers" in shown.stdout
