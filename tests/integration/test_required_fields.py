"""Every declared field is read, and no struct needs another one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import spyglass
from spyglass.binary.dwarf import Dwarf
from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.types import Type
from spyglass.errors import SpyglassError
from spyglass.model import Snapshot
from spyglass.runtime.discovery.layouts import Layouts, StructLayout, candidate_layouts, resolve
from spyglass.runtime.discovery.required_fields import STRUCTS, Field
from spyglass.runtime.waiting.options import WaitOptions
from tests.support import MATRIX, GoProcess, build, start

FIELDS = [(struct, field) for struct, fields in STRUCTS.items() for field in fields]
REQUIRED = [(struct, field) for struct, field in FIELDS if not field.optional]
OPTIONAL = [(struct, field) for struct, field in FIELDS if field.optional]
NAMES = "{0[0]}.{0[1].name}".format


def layouts_of(minor: str) -> Layouts:
    """Those of the table of a Go version."""
    return next(candidate_layouts(f"go{minor}", "amd64", None, None, None))


def in_oldest_and_newest(wanted: list[tuple[str, Field]]) -> pytest.MarkDecorator:
    """Each field with the oldest and the newest Go version that have it: what is done without one depends on it
    and not on the version."""
    known = {minor: layouts_of(minor) for minor in MATRIX}
    having = [[minor for minor in MATRIX if known[minor].has(s, f.name)] for s, f in wanted]
    pairs = {(minor, i) for i, minors in enumerate(having) for minor in (*minors[:1], *minors[-1:])}
    in_order = sorted(pairs, key=lambda pair: (MATRIX.index(pair[0]), pair[1]))
    chosen = [
        pytest.param(minor, wanted[i], id=f"{minor}-{NAMES(wanted[i])}") for minor, i in in_order
    ]
    # The scope is that of `minor`: else each test starts programs of its own.
    return pytest.mark.parametrize(("minor", "wanted"), chosen, indirect=["minor"], scope="session")


#: What only waits are read from.
OF_WAITS = {
    "sudog", "hchan", "pollDesc", "timer", "timerWhen", "_defer", "mspan", "mheap", "special",
}  # fmt: skip


@pytest.fixture(scope="module")
def labelled(minor: str) -> Iterator[GoProcess]:
    """A program with labels, which up to Go 1.23 are maps."""
    with start("labels", minor) as process:
        yield process


@pytest.fixture(scope="module")
def blocked(minor: str) -> Iterator[GoProcess]:
    """A program whose goroutines wait for everything."""
    with start("blocked", minor) as process:
        yield process


@pytest.fixture
def process(
    wanted: tuple[str, Field], labelled: GoProcess, request: pytest.FixtureRequest
) -> GoProcess:
    """A program that has what is `wanted`."""
    if wanted[0] not in OF_WAITS:
        return labelled
    found: GoProcess = request.getfixturevalue("blocked")
    return found


def inspect(process: GoProcess, struct: str) -> Iterator[Snapshot]:
    """Snapshots in every mode in which `struct` is read."""
    with spyglass.attach(process.pid) as program:
        if struct in OF_WAITS:
            yield program.snapshot(waits=WaitOptions())
        else:
            yield program.snapshot()
            yield program.snapshot("top")
            yield program.snapshot(stop=True, thread_stacks=True)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Field], None]:
    """Makes a field of a struct unknown to spyglass."""

    def drop(struct: str, field: Field) -> None:
        original = Layouts.of.__func__  # type: ignore[attr-defined]

        def of(
            cls: type[Layouts], source: str, structs: Mapping[str, StructLayout], *rest: Any
        ) -> Layouts:
            kept = dict(structs)
            if struct in kept:
                fields = {k: v for k, v in kept[struct].fields.items() if k != field.name}
                kept[struct] = replace(kept[struct], fields=fields)
            made: Layouts = original(cls, source, kept, *rest)
            return made

        monkeypatch.setattr(Layouts, "of", classmethod(of))

    return drop


@pytest.mark.live
@in_oldest_and_newest(REQUIRED)
def test_a_required_field_is_read(
    process: GoProcess, wanted: tuple[str, Field], without: Callable[[str, Field], None]
) -> None:
    """Without it something fails, be it with an exception of ours or because numpy has no such field."""
    struct, field = wanted
    without(struct, field)
    with pytest.raises((SpyglassError, ValueError, KeyError)):
        list(inspect(process, struct))


@pytest.mark.live
@in_oldest_and_newest(OPTIONAL)
def test_without_an_optional_field_goroutines_are_still_read(
    process: GoProcess,
    wanted: tuple[str, Field],
    without: Callable[[str, Field], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = goroutines_before(process, wanted[0] in OF_WAITS)
    without(*wanted)
    found = goroutines(process, wanted[0])
    if found != expected:  # since the first test the runtime may have begun goroutines of its own
        monkeypatch.undo()
        assert found == goroutines(process, wanted[0])


def goroutines(process: GoProcess, struct: str) -> list[set[int]]:
    return [{each.id for each in snapshot} for snapshot in inspect(process, struct)]


@cache
def goroutines_before(process: GoProcess, of_waits: bool) -> list[set[int]]:
    """Those that a test of the first of such structs has found."""
    struct = next(struct for struct in STRUCTS if (struct in OF_WAITS) == of_waits)
    return goroutines(process, struct)


@pytest.mark.parametrize("wanted", OPTIONAL, ids=NAMES)
def test_an_optional_field_is_named_where_the_runtime_is_read(wanted: tuple[str, Field]) -> None:
    """All the parts of its path in one module, in code."""
    parts = set(wanted[1].name.split("."))
    assert any(parts <= words for words in words_of_modules())


@cache
def words_of_modules() -> list[set[str]]:
    root = Path(spyglass.__file__).parent
    readers = [*(root / "runtime").rglob("*.py"), root / "inspector.py"]
    return [
        set(_words(ast.parse(path.read_text())))
        for path in readers
        if path.name != "required_fields.py"
    ]


def _words(tree: ast.Module) -> Iterator[str]:
    """The parts of string constants that are no docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield from node.value.split(".")


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_struct_needs_no_field_that_is_not_required(minor: str, struct: str) -> None:
    """Each member that is not required, or all of them, may be gone in the next version."""
    with GoExecutable.open(str(build("demo", minor))) as executable:
        whole = _find(executable, struct)
        if whole is None:
            pytest.skip(f"this version has no {struct}")
        expected = _resolved(struct, whole)
        required = {name for f in STRUCTS[struct] if not f.optional for name in _first_parts(f)}
        spare = set(whole.members) - required
        for gone in ({name} for name in spare):
            left = _resolved(struct, _without(whole, gone))
            its = {field.name for field in STRUCTS[struct] if gone & _first_parts(field)}
            others = [{k: v for k, v in each.items() if k not in its} for each in (expected, left)]
            assert others[0] == others[1]
        if required:
            assert _resolved(struct, _without(whole, spare)).keys() <= expected.keys()


def _first_parts(field: Field) -> set[str]:
    return {name.split(".")[0] for name in field.names}


def _find(executable: GoExecutable, struct: str) -> Type | None:
    try:
        return Dwarf.of(executable).struct(f"runtime.{struct}")
    except SpyglassError:
        return None


def _without(whole: Type, gone: set[str]) -> Type:
    members = {name: member for name, member in whole.members.items() if name not in gone}
    return replace(whole, members=members)


def _resolved(struct: str, made: Type) -> Mapping[str, tuple[int, str]]:
    def find(name: str) -> Type:
        if name != f"runtime.{struct}":
            raise spyglass.errors.MissingInfo(name)
        return made

    found = resolve(find).get(struct)  # none if this version has none of its fields
    return found.fields if found is not None else {}
