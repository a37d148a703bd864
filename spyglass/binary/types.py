"""Types as the program itself describes them, whatever wrote the description down.

Debug information (`spyglass.binary.dwarf`) and Go's type descriptors (`spyglass.binary.gotypes`) both
end up as a `Type`, looked up lazily: a struct's members are known by name before the types of any of
them are read, because a runtime struct leads to hundreds of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from spyglass.errors import BadDataError

__all__ = ["MAX_TYPE_BYTES", "Member", "Type", "format_of", "locate"]

#: No struct of the runtime is larger (mheap, the largest, is some 60 KiB without its arenas).
MAX_TYPE_BYTES = 1 << 24
_MAX_DEPTH = 8
_NUMBERS = frozenset(("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f8"))
_WORD = 8


@dataclass(frozen=True)
class Type:
    """A type of `size` bytes.

    `scalar` is numpy's code of a number or pointer ("i4", "u8", "f8"; Go's bool is "u1"), or empty.
    `members` are those of a struct, by name. `element` gives the element type of an array, `target` what a pointer
    refers to, and `is_channel` says that this is a channel, where the description is Go's own.
    """

    size: int
    scalar: str = ""
    members: Mapping[str, Member] = field(default_factory=dict)
    element: Callable[[], Type] | None = None
    target: Callable[[], Type] | None = None
    is_channel: bool = False


@dataclass(frozen=True)
class Member:
    """A member of a struct, `offset` bytes from its begin."""

    offset: int
    type: Callable[[], Type]


def locate(struct: Type, path: str) -> tuple[int, str] | None:
    """Offset in bytes and numpy format of the member at `path` ("sched.pc"); None if there is none.

    Wrappers are seen through: a member that is a struct of one member (atomic.Int32, a type of the
    runtime's own around it) has the offset and format of that member.
    """
    offset, inner = 0, struct
    for name in path.split("."):
        member = inner.members.get(name)
        if member is None:
            return None
        offset, inner = offset + member.offset, member.type()
    at, inner = _unwrap(inner)
    return offset + at, format_of(inner)


def format_of(inner: Type, depth: int = 0) -> str:
    """Numpy's format of a type: a scalar's code, "(n,)u8" for n words, otherwise "V" and its size.

    Words are what arrays of pointers or 8-byte numbers are made of, and slices (pointer, length,
    capacity), strings and interfaces.
    """
    if inner.scalar:
        return inner.scalar
    if inner.element is not None:
        element = inner.element()
        if 0 < element.size <= inner.size and depth < _MAX_DEPTH:
            code = format_of(element, depth + 1)
            if code in _NUMBERS:
                return f"({inner.size // element.size},){code}"
    if _is_words(inner):
        return f"({inner.size // _WORD},)u8"
    return f"V{inner.size}"


def _is_words(inner: Type) -> bool:
    members = inner.members.values()
    return 1 < len(members) == inner.size // _WORD and all(m.type().size == _WORD for m in members)


def _unwrap(inner: Type) -> tuple[int, Type]:
    """The only member with bytes of a struct, of that again, and so on, and its offset."""
    offset = 0
    for _ in range(_MAX_DEPTH):
        filled = (m for name, m in inner.members.items() if name != "_" and m.type().size > 0)
        only = next(filled, None)
        if only is None or next(filled, None) is not None:
            return offset, inner
        offset, inner = offset + only.offset, only.type()
    raise BadDataError("implausible nesting of a type")
