from __future__ import annotations

from collections.abc import Callable

import pytest

from spyglass.binary.types import Member, Type, format_of, locate
from spyglass.errors import BadDataError

WORD, INT32, BYTE, EMPTY = Type(8, "u8"), Type(4, "i4"), Type(1, "u1"), Type(0)


def struct(size: int, **members: tuple[int, Type]) -> Type:
    return Type(
        size, members={name: Member(at, give(kind)) for name, (at, kind) in members.items()}
    )


def give(kind: Type) -> Callable[[], Type]:
    return lambda: kind


def array(size: int, element: Type) -> Type:
    return Type(size, element=lambda: element)


ATOMIC = struct(4, noCopy=(0, EMPTY), value=(0, INT32))
PADDED = struct(8, _=(0, INT32), value=(4, ATOMIC))
STACK = struct(16, lo=(0, WORD), hi=(8, WORD))
MIXED = struct(16, first=(0, WORD), second=(8, INT32), third=(12, INT32))
G = struct(80, stack=(0, STACK), status=(24, PADDED), mixed=(32, MIXED), ring=(48, array(32, WORD)))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("stack.hi", (8, "u8")),
        ("stack", (0, "(2,)u8")),
        ("status", (28, "i4")),
        ("mixed", (32, "V16")),
        ("mixed.third", (44, "i4")),
        ("ring", (48, "(4,)u8")),
        ("none", None),
        ("stack.none", None),
        ("ring.lo", None),
    ],
)
def test_a_member_is_found_by_its_path(path: str, place: tuple[int, str] | None) -> None:
    assert locate(G, path) == place


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (WORD, "u8"),
        (array(6, BYTE), "(6,)u1"),
        (array(48, MIXED), "V48"),
        (array(48, EMPTY), "V48"),
        (EMPTY, "V0"),
        (struct(24, array=(0, WORD), len=(8, Type(8, "i8")), cap=(16, Type(8, "i8"))), "(3,)u8"),
    ],
)
def test_formats_are_what_numpy_calls_them(kind: Type, code: str) -> None:
    assert format_of(kind) == code


def test_a_struct_that_is_its_own_only_member_is_refused() -> None:
    loop = Type(8, members={"self": Member(0, lambda: loop)})
    with pytest.raises(BadDataError, match="implausible nesting"):
        locate(struct(8, loop=(0, loop)), "loop")


def test_an_array_of_itself_is_bytes() -> None:
    loop: Type = Type(8, element=lambda: loop)
    assert format_of(loop) == "V8"
