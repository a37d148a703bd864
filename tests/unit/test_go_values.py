"""Values that a hostile program has made, and how values are shown."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest

from spyglass.binary.value_types import Field, ValueType, basic_type
from spyglass.go_value import Limits, Value, Variable
from spyglass.render.value_view import render_variables
from spyglass.render.view_options import View
from spyglass.runtime.variables import decoder
from spyglass.runtime.variables.decoder import Decoder
from spyglass.runtime.variables.maps import map_entries
from tests.image import ImageMemory

BASE = 0x7F0000001000
WORD = (1 << 64) - 1


def basic(name: str) -> ValueType:
    found = basic_type(name)
    assert found is not None
    return found


INT, STRING = basic("int"), basic("string")


def slice_of(element: ValueType) -> ValueType:
    return ValueType(f"[]{element.name}", "slice", 24, element=lambda: element)


def struct_of(*fields: tuple[str, int, ValueType], size: int) -> ValueType:
    made = [Field(name, at, lambda kind=kind: kind) for name, at, kind in fields]  # type: ignore[misc]
    return ValueType("main.T", "struct", size, fields=lambda: made)


def read(kind: ValueType, *words: int, limits: Limits | None = None, at: int = BASE) -> Value:
    """The value of `kind` in a memory that begins with `words`."""
    raw = struct.pack(f"<{len(words)}Q", *words).ljust(1 << 14, b"\0")
    functions = SimpleNamespace(at=lambda _pc: None)
    runtime = SimpleNamespace(memory=ImageMemory({BASE: raw}), functions=functions)
    return Decoder(cast(Any, runtime), None, limits or Limits()).value(kind, at)


@pytest.mark.parametrize(
    ("name", "size"),
    [("int", 8), ("uint8", 1), ("byte", 1), ("rune", 4), ("float32", 4), ("complex128", 16), ("bool", 1),
     ("string", 16), ("any", 16), ("unsafe.Pointer", 8)],
)  # fmt: skip
def test_predeclared_types(name: str, size: int) -> None:
    assert basic(name).size == size
    assert basic_type("main.T") is None


@pytest.mark.parametrize(
    "kind", ["string", "int", "complex128", "slice", "interface", "map", "func", "bool"]
)
@pytest.mark.parametrize("size", [0, 1, 7, 9, 17, 40])
def test_a_type_of_another_size_than_its_kind_has_is_said(kind: str, size: int) -> None:
    found = read(ValueType("main.T", kind, size), 1, 2, 3, 4, 5)
    if (kind, size) != ("bool", 1):
        assert found.problem == "its type has an implausible size"


def test_numbers() -> None:
    assert read(INT, WORD).number == -1
    assert read(basic("uint64"), WORD).number == WORD
    assert read(basic("bool"), 7).number is True
    assert repr(read(basic("float64"), 0x7FF8000000000000).number) == "nan"


@pytest.mark.parametrize(
    ("kind", "words", "problem"),
    [
        (STRING, (BASE, WORD), "implausible length"),
        (STRING, (0x1000, 5), "its memory cannot be read"),
        (slice_of(INT), (BASE, 5, 4), "longer than its capacity"),
        (slice_of(INT), (BASE, WORD, WORD), "implausible length"),
        (slice_of(INT), (0x1000, 5, 5), "its memory cannot be read"),
        (ValueType("chan int", "chan", 8), (0x1000,), "its memory cannot be read"),
        (ValueType("chan int", "chan", 8), (BASE,), "more than its capacity"),
        (ValueType("map[int]int", "map", 8), (BASE,), "not known"),
        (ValueType("func()", "func", 8), (0x1000,), "its memory cannot be read"),
        (basic("any"), (BASE, BASE), "types of the program are not known"),
        (struct_of(("a", 4, INT), size=8), (1,), "lies outside its struct"),
        (ValueType("[9]int", "array", 8, element=lambda: INT, length=1 << 62), (1,), "cannot be read|more than"),
        (ValueType("?", "invalid", 8), (1,), "unknown kind"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_problem_of_the_value(
    kind: ValueType, words: tuple[int, ...], problem: str
) -> None:
    limits = Limits(elements=10_000) if kind.kind == "array" else None
    found = read(kind, *words, limits=limits).problem
    assert found is not None
    assert [each for each in problem.split("|") if each in found]


def test_elements_of_no_size_and_very_long_slices_are_cut() -> None:
    empty = struct_of(size=0)
    found = read(slice_of(empty), BASE, 1 << 40, 1 << 40)
    assert (len(found.elements), found.cut, found.length) == (32, True, 1 << 40)


class Moving(ImageMemory):
    """Memory in which the program writes the words `writes`, one set at `BASE` before each of the next reads of a text."""

    def __init__(self, raw: bytes, *writes: tuple[int, int]) -> None:
        super().__init__({BASE: raw})
        self._writes = list(writes)

    def read(self, address: int, size: int) -> bytes:
        if address != BASE and self._writes:
            words = struct.pack("<2Q", *self._writes.pop(0))
            self.place(BASE, words + self.segments[BASE][16:])
        return super().read(address, size)


@pytest.mark.parametrize(("changes", "expected"), [(0, "short"), (1, "another"), (9, None)])
def test_a_text_is_of_one_moment(changes: int, expected: str | None) -> None:
    """Pointer and length of a string are written one after the other."""
    texts = [(BASE + 64, 5), (BASE + 72, 7)]
    raw = (
        struct.pack("<2Q", *texts[0]).ljust(64, b"\0")
        + b"short".ljust(8, b"!")
        + b"another".ljust(8)
    )
    memory = Moving(raw.ljust(256, b"\0"), *(texts[(at + 1) % 2] for at in range(changes)))
    runtime = SimpleNamespace(memory=memory, functions=None)
    found = Decoder(cast(Any, runtime), None, Limits()).value(STRING, BASE)
    assert (found.text, found.problem) == (
        expected, None if expected else "it changed while it was read",
    )  # fmt: skip


def test_pointers_in_circles_end() -> None:
    pointer = ValueType("main.P", "pointer", 8, element=lambda: pointer)
    found = read(pointer, BASE, limits=Limits(depth=20))
    assert found.target is not None
    assert (found.target.cut, found.target.target) == (True, None)


def test_types_in_types_without_end_are_cut() -> None:
    endless = ValueType("main.E", "array", 8, element=lambda: endless, length=1)
    found, depth = read(endless, 1), 0
    while found.elements:
        found, depth = found.elements[0], depth + 1
    assert found.problem == "there is more than is read"
    assert depth < 100


def test_the_number_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_MAX_VALUES", 100)
    inner = slice_of(INT)
    words = [value for _ in range(40) for value in (BASE, 30, 30)]
    found = read(slice_of(inner), BASE, 40, 40, *words, limits=Limits(elements=1000))
    known, stack = 0, [found]
    while stack:
        value = stack.pop()
        known += value.problem is None
        stack += value.elements
    assert 50 < known <= 100
    monkeypatch.setattr(decoder, "_MAX_BYTES", 100)
    found = read(slice_of(INT), BASE, 100, 100, limits=Limits(elements=1000))
    assert found.problem == "more than is read of all values"


def old_map(storage: ValueType) -> ValueType:
    return ValueType(
        "map[int]int", "map", 8, element=lambda: INT, key=lambda: INT, storage=lambda: storage
    )


EIGHT = ValueType("[8]int", "array", 64, element=lambda: INT, length=8)
BUCKET = struct_of(("topbits", 0, EIGHT), ("keys", 8, EIGHT), ("elems", 72, EIGHT), size=144)
GROUP = struct_of(("ctrl", 0, INT), ("keys", 8, EIGHT), ("elems", 72, EIGHT), size=136)


def memory_of(*words: int) -> ImageMemory:
    return ImageMemory({BASE: struct.pack(f"<{len(words)}Q", *words).ljust(1 << 14, b"\0")})


def test_buckets_that_overflow_in_a_circle_end() -> None:
    """A map of one entry (B 0), whose bucket overflows into itself."""
    bucket = [0x0505050505050505, *range(8), *range(8), BASE + 48]
    memory = memory_of(1, 0, BASE + 48, 0, 0, 0, *bucket)
    found = map_entries(memory.read, old_map(BUCKET), BASE, 10_000)
    assert not found.is_whole
    assert len(found.places) == 64 * 8


def test_directories_and_groups_without_end_are_bounded() -> None:
    """A map of Go 1.24 with a table of as many groups as there are numbers."""
    table = [0, 0, BASE + 56, WORD >> 1]
    memory = memory_of(5, 0, BASE + 48, 1, 0, 0, BASE + 56, *table)
    found = map_entries(memory.read, old_map(GROUP), BASE, 3)
    assert len(found.places) == 3
    for words, complaint in (
        ((5, 0, BASE, 1 << 40), "directory"),
        ((5, 0, BASE, WORD), "directory"),
    ):
        with pytest.raises(Exception, match=complaint):
            map_entries(memory_of(*words).read, old_map(GROUP), BASE, 3)
    with pytest.raises(Exception, match="implausible numbers"):
        map_entries(memory_of(WORD).read, old_map(BUCKET), BASE, 3)
    with pytest.raises(Exception, match="how this map is kept"):
        map_entries(memory.read, old_map(struct_of(("x", 0, INT), size=8)), BASE, 3)


def shown(value: Value) -> list[str]:
    view = View(width=None, height=None)
    return [line.plain for line in render_variables([Variable("main.x", BASE, value)], view)]


def test_what_is_shown() -> None:
    assert shown(Value("int", "int", number=5)) == ["main.x int = 5"]
    text = Value("string", "string", text="a\x1b[1m\u202e\\", length=99, cut=True)
    assert shown(text) == ['main.x string = "a\\x1b[1m\\u202e\\\\"… (99 bytes)']
    assert shown(Value("T\x1b", "struct", problem="no")) == ["main.x T\\x1b = ? (no)"]
    field = Value("main.T", "struct", fields=(("a\x1b", Value("int", "int", number=1)),))
    assert shown(field) == ["main.x main.T", "  a\\x1b int = 1"]
    assert shown(Value("*int", "pointer", address=0)) == ["main.x *int = nil"]
    entry = (Value("string", "string", text="k\n", length=2), Value("int", "int", number=1))
    table = Value("map[string]int", "map", address=16, length=3, entries=(entry,), cut=True)
    assert shown(table) == [
        "main.x map[string]int = 0x10 len 3",
        '  ["k\\n"] int = 1',
        "  … 2 more",
    ]
