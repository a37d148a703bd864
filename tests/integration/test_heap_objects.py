"""Spans, types of objects, and what keeps objects alive, against what programs know of themselves.

The programs stand still while they are looked at: they wait for the next line of standard input, and collect no garbage.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import spyglass
from spyglass.cli.memory import memory
from spyglass.errors import MissingInfo, TargetError
from spyglass.heap_objects import Chain, HeapTypes
from spyglass.inspector import Inspector
from spyglass.runtime.heap.spans import Spans
from spyglass.runtime.heap.type_reader import TypeReader
from tests.command import piped
from tests.cores import gcore
from tests.support import MATRIX, Flavour, GoProcess, in_milestones, start

SCHEMA = json.loads(files("spyglass.export").joinpath("memory.schema.json").read_text())

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
def named(minor: str) -> Iterator[GoProcess]:
    with start("objects", minor, Flavour.EXE) as process:
        yield process


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
    # The array of pointers to "other" is large enough for the runtime to keep its type, that to "one" is not; 20 more of
    # "other" are in maps, whose memory no field of a known type refers to.
    assert found["main.other"] == (own["main.other"], "only candidate")
    assert twins.objects == own["main.one"] + 20
    assert "main.one" not in found
    # What an array of known type refers to is an "inner", and may be all of an "outer".
    (nested,) = (row for row in types.rows if "main.inner" in row.candidates)
    assert set(nested.candidates) == {"main.inner", "main.outer"}
    assert nested.objects == own["main.inner"] == 90
    # A field of "holder": slices of three.
    points = {row.object_bytes: row.objects for row in types.rows if row.type == "[]main.point"}
    assert points == {96: 20, 288: 1}
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


def document_of(*arguments: str) -> dict[str, Any]:
    written = CliRunner().invoke(memory, [*arguments, "--json"])
    assert written.exit_code == 0, written.output
    document: dict[str, Any] = json.loads(written.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    return document


def test_the_document_has_them(typed: GoProcess) -> None:
    document = document_of(str(typed.pid), "--types")
    types = document["types"]
    rows = {row["type"]: row for row in types["rows"] if row["type"] is not None}
    assert (rows["main.big"]["objects"], rows["main.big"]["bytes"]) == (300, 300 * 640)
    assert rows["main.unique"]["certainty"] == "only candidate"
    assert {row["certainty"] for row in types["rows"]} >= {"exact", "candidates", "unknown"}
    known = [row["bytes"] for row in types["rows"] if row["type"] is not None]
    assert types["covered_bytes"] == sum(known)
    assert types["examined_bytes"] == types["total_bytes"]
    assert (document["spans"], document["profile"]) == (None, None)
    document = document_of(str(typed.pid), "--spans")
    (blocks,) = (
        row
        for row in document["spans"]["classes"]
        if (row["object_bytes"], row["pointers"]) == (640, True)
    )
    assert blocks["objects"] >= 300
    assert blocks["unused_bytes"] == blocks["span_bytes"] - blocks["used_bytes"]
    assert document["types"] is None


@in_milestones
@pytest.mark.slow  # gdb saves the core
def test_a_core_has_the_types(typed: GoProcess, tmp_path: Path) -> None:
    core = gcore(typed.pid, tmp_path)
    with spyglass.attach(typed.pid) as inspector:
        own = rows_of(inspector.heap_types())
    with spyglass.open_core(str(core)) as inspector:
        types = inspector.heap_types()
    assert rows_of(types)["main.big"] == (300, "exact")
    assert {name: row for name, row in rows_of(types).items() if name.startswith("main.")} == {
        name: row for name, row in own.items() if name.startswith("main.")
    }
    assert types.examined_bytes == types.total_bytes


def chain_of(inspector: Inspector, wanted: str) -> Chain:
    """What keeps `wanted` alive, which is one object that one root keeps alive."""
    found = inspector.retention(wanted)
    assert (found.objects, found.reached, found.chain_count, found.complete) == (1, 1, 1, True)
    (chain,) = found.chains
    address = int(wanted, 16)
    last = chain.links[-1]
    assert last.address <= address < last.address + last.object_bytes
    return chain


def test_chains_begin_at_variables_and_goroutines(named: GoProcess, minor: str) -> None:
    in_map, local, _, direct, *_ = named.ask("where").split()
    with spyglass.attach(named.pid) as inspector:
        chain = chain_of(inspector, in_map)
        assert (chain.root.kind, chain.root.name) == ("variable", "main.shelves")
        assert len(chain.links) > 3
        if keeps_types(minor):
            assert [link.type for link in chain.links[-2:]] == ["[]*main.item", "main.item"]
            assert (chain.links[-1].field, chain.links[-1].sure) == ("[99]", True)
        else:
            assert {link.type for link in chain.links} == {None}
        assert chain.links[-1].offset == 8 * 99 + (8 if keeps_types(minor) else 0)
        chain = chain_of(inspector, direct)
        assert (chain.root.name, len(chain.links)) == ("main.direct", 1)
        chain = chain_of(inspector, local)
        assert (chain.root.kind, chain.root.name, len(chain.links)) == (
            "goroutine",
            "main.waiting",
            1,
        )
        goroutines = inspector.snapshot().goroutines
        assert chain.root.goroutine in goroutines.id


def test_long_chains_are_cut_in_the_middle(named: GoProcess, minor: str) -> None:
    last = named.ask("where").split()[4]
    with spyglass.attach(named.pid) as inspector:
        chain = chain_of(inspector, last)
    assert (chain.root.name, len(chain.links) + chain.left_out) == ("main.list", 100)
    assert chain.left_out > 0
    assert len({link.address for link in chain.links}) == len(chain.links)
    if keeps_types(minor):
        assert {(link.type, link.field) for link in chain.links[1:]} == {("main.node", ".next")}


def test_garbage_has_no_chain(named: GoProcess) -> None:
    garbage = named.ask("where").split()[5]
    with spyglass.attach(named.pid) as inspector:
        found = inspector.retention(garbage)
    assert (found.objects, found.reached, found.chains) == (1, 0, ())


def test_the_process_can_be_stopped_and_the_heap_that_is_read_bounded(named: GoProcess) -> None:
    garbage = named.ask("where").split()[5]

    def said(*options: str) -> str:
        return CliRunner().invoke(memory, [str(named.pid), "--retain", garbage, *options]).output

    assert "1: garbage, or references to them moved meanwhile" in said()
    assert "1: garbage, nothing that is alive refers to them" in said("--stop")
    assert "not all of the heap was looked at" in said("--heap-limit", "8K")
    for wrong in (["--stop"], ["--heap-limit", "1G", "--types"]):
        done = CliRunner().invoke(memory, [str(named.pid), *wrong])
        assert (done.exit_code, "require --retain" in done.output) == (2, True)


def test_nothing_is_garbage_for_sure_while_finalizers_run(minor: str) -> None:
    """The object is in the queue of finalizers, behind one that waits."""
    with start("finalizing", minor) as process:
        address = process.ready_line.split()[2]
        with spyglass.attach(process.pid) as inspector:
            found = inspector.retention(address, stop=True)
        shown = piped("memory", str(process.pid), "--retain", address, "--stop")
    assert (found.objects, found.reached, found.calls_back) == (1, 0, True)
    assert "1: garbage, or queued finalizers or cleanups refer to them" in shown.stdout


def test_objects_without_pointers_have_no_type(named: GoProcess, minor: str) -> None:
    if not keeps_types(minor):
        pytest.skip("types of objects are not known")
    with (
        spyglass.attach(named.pid) as inspector,
        pytest.raises(MissingInfo, match=r"main\.block has no pointers"),
    ):
        inspector.retention("main.block")


def test_objects_of_a_type_are_grouped_by_their_roots(named: GoProcess, minor: str) -> None:
    with spyglass.attach(named.pid) as inspector:
        if not keeps_types(minor):
            with pytest.raises(MissingInfo, match="does not keep the types"):
                inspector.retention("main.item")
            return
        found = inspector.retention("main.item")
        roots = {
            chain.root.name: (chain.objects, chain.bytes)
            for chain in found.chains
            if chain.root.kind == "variable"
        }
        # A word that is left in the innermost frame of a goroutine may refer to one of them.
        stacks = sum(chain.objects for chain in found.chains if chain.root.kind == "goroutine")
        in_map = 1000 - stacks
        assert stacks < 3
        assert roots["main.shelves"] == (in_map, 640 * in_map)
        assert not [name for name in roots if (name or "").startswith(("runtime.", "main.mixed"))]
        assert roots["main.direct"] == (1, 640)
        arrays = inspector.retention("[]*main.item")
        assert (arrays.objects, arrays.reached, arrays.chain_count) == (10, 10, 1)
        none = inspector.retention("main.item", seconds=1e-9)
        assert (none.complete, none.reached) == (False, 0)
        for wrong in ("main.nothing", "0x10", "\x1b[2J"):
            with pytest.raises(TargetError, match=r"there is no object|no objects of a type"):
                inspector.retention(wrong)


def test_several_values_in_an_object_are_told_from_one(typed: GoProcess) -> None:
    with spyglass.attach(typed.pid) as inspector:
        assert inspector.retention("main.big").objects == 300
        assert inspector.retention("[]main.big").objects == 1
        twins = inspector.retention("main.one")
        others = inspector.retention("main.other")
    assert (twins.objects, twins.possible) == (0, 80)
    assert (others.objects, others.possible, others.reached) == (70, 80, 70)
    assert others.chains[0].links[-1].type == "main.other"


@in_milestones
@pytest.mark.slow  # gdb saves the core
def test_chains_of_a_stripped_core_are_exact(objects: GoProcess, tmp_path: Path) -> None:
    core = gcore(objects.pid, tmp_path)
    _, local, _, direct, *_, garbage = objects.ask("where").split()
    with spyglass.open_core(str(core)) as inspector:
        assert chain_of(inspector, local).root.name == "main.waiting"
        root = chain_of(inspector, direct).root
        word = inspector.runtime.memory.read(root.address or 0, 8)
        found = inspector.retention(garbage)
    assert (root.kind, root.name) == ("variable", None)
    assert int.from_bytes(word, "little") == int(direct, 16)
    assert (found.exact, found.complete, found.reached) == (True, True, 0)


def test_the_command_shows_chains(named: GoProcess, minor: str) -> None:
    direct = named.ask("where").split()[3]
    shown = piped("memory", str(named.pid), "--retain", direct)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "objects 1  size 640 B  kept alive 1\n" in shown.stdout
    assert "1 object, 640 B: variable main.direct at 0x" in shown.stdout
    retained = document_of(str(named.pid), "--retain", direct)["retained"]
    assert (retained["reached"], retained["chains"][0]["root"]["name"]) == (1, "main.direct")
