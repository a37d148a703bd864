"""What types consist of: made by hand, and made to harm."""

from __future__ import annotations

from itertools import islice

import pytest

from spyglass.binary.value_types import Field, ValueType
from spyglass.errors import BadDataError
from spyglass.runtime.heap.type_closure import _nodes
from spyglass.runtime.retention.links import field_at

WORD = ValueType("int", "int", 8, 1)
BYTE = ValueType("uint8", "uint8", 1, 2)
POINTER = ValueType("*int", "pointer", 8, 3, element=lambda: WORD)
TEXT = ValueType("string", "string", 16, 4)
INNER = ValueType(
    "inner", "struct", 24, 5, fields=lambda: [Field("text", 0, lambda: TEXT), Field("next", 16, lambda: POINTER)]
)  # fmt: skip
ARRAY = ValueType("[2]inner", "array", 48, 6, element=lambda: INNER, length=2)
OUTER = ValueType(
    "outer", "struct", 64, 7,
    fields=lambda: [Field("flag", 0, lambda: BYTE), Field("number", 8, lambda: WORD), Field("list", 16, lambda: ARRAY)],
)  # fmt: skip


def test_a_type_consists_of_its_fields_and_elements_at_any_depth() -> None:
    found = [(offset, part.name) for offset, part in _nodes(OUTER)]
    assert found == [
        (0, "outer"), (8, "int"), (16, "[2]inner"), (16, "inner"), (16, "string"), (32, "*int"),
        (40, "inner"), (40, "string"), (56, "*int"),
    ]  # fmt: skip


def test_a_type_that_consists_of_itself_is_refused() -> None:
    circle = ValueType("circle", "struct", 8, 9, fields=lambda: [Field("own", 0, lambda: circle)])
    with pytest.raises(BadDataError):
        list(_nodes(circle))
    wide = ValueType("wide", "struct", 8, 9, fields=lambda: [Field("own", 0, lambda: wide)] * 50)
    with pytest.raises(BadDataError):
        list(islice(_nodes(wide), 100_000))
    endless = ValueType("endless", "array", 8, 9, element=lambda: WORD, length=1 << 60)
    assert len(list(_nodes(endless))) == 1025


@pytest.mark.parametrize(
    ("offset", "many", "expected"),
    [
        (56, False, (".list[1].next", True)),
        (40, False, (".list[1].text", True)),
        (48, False, (".list[1].text", False)),
        (8, False, (".number", False)),
        (4, False, (None, False)),
        (-8, False, (None, False)),
        (64 * 3 + 32, True, ("[3].list[0].next", True)),
        (200, False, (None, False)),
    ],
)
def test_references_are_named_by_field(
    offset: int, many: bool, expected: tuple[str | None, bool]
) -> None:
    assert field_at(OUTER, offset, many) == expected


def test_the_field_of_a_type_that_consists_of_itself_is_not_known() -> None:
    circle = ValueType("circle", "struct", 8, 9, fields=lambda: [Field("own", 0, lambda: circle)])
    assert field_at(circle, 0, False) == (None, False)
    nothing = ValueType("nothing", "array", 0, 9, element=lambda: nothing, length=1)
    assert field_at(nothing, 0, True) == (None, False)
