"""Struct types from Go's own type descriptors: they are in every program, stripped or not.

The linker puts the descriptors of all types that a value may have at run time between
``moduledata.types`` and ``etypes``, the runtime's own among them, with the names and offsets of fields.
Nothing else needs to be known to find one: its name is in there too, and the descriptor holds the
offset of its name.

Knowledge: src/internal/abi/type.go (``Type``, ``StructType``, ``Name``); before Go 1.21 src/reflect/type.go
(``rtype``, ``structType``, ``name``). Since Go 1.13 the fields are where they are now. Two details
changed: the length of a name is a varint since Go 1.17, two bytes before; the offset of a field is
plain since Go 1.19, before it was doubled and the lowest bit said that the field was embedded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.types import MAX_TYPE_BYTES, Member, Type
from spyglass.errors import BadDataError, MissingInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = ["KIND_MASK", "TYPE_HEADER", "GoTypes"]

#: More than any program has; the largest seen has a twentieth of it.
_MAX_BYTES = 1 << 28
_MAX_FIELDS = 4_096
_MAX_NAME_BYTES = 1 << 10
_MAX_STRUCTS = 4_096

#: ``abi.Type`` up to ``PtrToThis``: size, pointer bytes, hash, flags, aligns, kind, equal, gc data, name.
TYPE_HEADER = Struct("<QQIBBBBQQiI")
#: Behind it in ``StructType``: package path, and the fields as pointer, length, capacity.
_STRUCT = Struct("<QQQQ")
_FIELD = Struct("<QQQ")
#: ``ArrayType``: element, slice type, length. ``PtrType``: what it refers to.
_ARRAY_TAIL = Struct("<QQQ")
_POINTER_TAIL = Struct("<Q")
KIND_MASK = 31
#: In the pairs of words that a descriptor is made of: which pair's second word holds flags and kind,
#: what in it says that this is a struct (kind 25) whose name has a star too many (flag 2: it is that of
#: its pointer type, as for all that have names), and which pair's first word is the offset of the name.
_MARKS_ROW, _MARKS, _NAMED_STRUCT, _NAME_ROW = 2, 0x1F000002, 0x19000002, 5
_ARRAY, _CHANNEL, _INTERFACE, _POINTER, _SLICE, _STRING, _STRUCT_KIND = 17, 18, 20, 22, 23, 24, 25
_SCALARS = {
    1: "u1", 2: "i8", 3: "i1", 4: "i2", 5: "i4", 6: "i8", 7: "u8", 8: "u1", 9: "u2", 10: "u4", 11: "u8",
    12: "u8", 13: "f4", 14: "f8", 18: "u8", 19: "u8", 21: "u8", 22: "u8", 26: "u8",
}  # fmt: skip
_WORD = Type(8, "u8")


class _Header(NamedTuple):
    size: int
    kind: int


class GoTypes:
    """The type descriptors of one module, as `Type`s by name.

    Everything in them is untrusted: `BadDataError` for what cannot be.
    """

    def __init__(
        self,
        memory: Memory,
        types: int,
        etypes: int,
        constant: Callable[[int, int], bytes] | None = None,
    ) -> None:
        """Find the runtime's descriptors among those at the addresses `types` to `etypes` of `memory`.

        `constant` reads (address, size) of what never changes, from the program's file: all but
        pointers. Megabytes are read, which is faster from there and costs the process nothing.
        `MissingInfo` if the runtime's descriptors are not there.
        """
        if types % 8 or not 0 < etypes - types <= _MAX_BYTES:
            raise BadDataError(f"implausible range of type descriptors, {types:#x} to {etypes:#x}")
        self._memory = memory
        self._base = types
        self._data = (constant or memory.read)(types, etypes - types)
        self._types: dict[int, Type] = {}
        self._two_byte_lengths = self._doubled_offsets = False
        self._structs = self._find_structs()
        self._learn_offsets()

    def _find_structs(self) -> dict[str, int]:
        """The named structs of package runtime: their names, and the offsets of their descriptors.

        All descriptors begin at multiples of 8; what says "a named struct" there is one.
        """
        words = np.frombuffer(self._data, "<u4", len(self._data) // 8 * 2).reshape(-1, 2)
        marks = words[_MARKS_ROW:, 1] & _MARKS
        rows = np.flatnonzero(marks[: max(len(marks) - _NAME_ROW, 0)] == _NAMED_STRUCT)
        self._named, self._names = rows * 8, words[rows + _NAME_ROW, 0]
        for self._two_byte_lengths in (False, True):
            found = self._structs_of("runtime", "runtime.")
            if "runtime.g" in found:
                return found
        raise MissingInfo("there is no type descriptor of runtime.g")

    def _structs_of(self, path: str, begin: str) -> dict[str, int]:
        """The named structs of the package `path` whose names begin with `begin`: the offsets of their
        descriptors. A type within a function has the name of the package's own of that name: which is which is not
        known, so neither is there."""
        ours = self._begin_with(self._names, f"*{begin}".encode())
        if len(ours) > _MAX_STRUCTS:  # another of the same name may be behind them
            return {}
        found = list(self._of_package(path, self._named[ours], self._names[ours]))
        times = Counter(name for name, _ in found)
        return {name: offset for name, offset in found if times[name] == 1}

    def struct_of(self, path: str, name: str) -> Type | None:
        """The struct type `name` ("server.Pool") of the package `path` ("example.com/server"), None if it is
        not there."""
        offset = self._structs_of(path, name).get(name)
        return self._type(self._base + offset) if offset is not None else None

    def _begin_with(self, names: NDArray[np.uint32], text: bytes) -> NDArray[np.int64]:
        """Which of the names at offsets `names` begin with `text`; at most one more than `_MAX_STRUCTS`."""
        begins = names.astype(np.int64) + (3 if self._two_byte_lengths else 2)
        inside = np.flatnonzero(begins <= len(self._data) - len(text))
        letters = np.frombuffer(self._data, np.uint8)
        at = begins[inside, None] + np.arange(len(text))
        same = (letters[at] == np.frombuffer(text, np.uint8)).all(axis=1)
        ours: NDArray[np.int64] = inside[same][: _MAX_STRUCTS + 1]
        return ours

    def _of_package(
        self, path: str, structs: NDArray[np.int64], names: NDArray[np.uint32]
    ) -> Iterator[tuple[str, int]]:
        """Names and offsets of those structs that are of the package `path`, of several of its name."""
        for struct, name in zip(structs.tolist(), names.tolist(), strict=True):
            try:
                where = self._pointers(_STRUCT, struct + TYPE_HEADER.size)[0]
                if where and self._name(where - self._base) == path:
                    yield self._name(name)[1:], struct
            except BadDataError:
                continue

    def _learn_offsets(self) -> None:
        """Find out how offsets are written, from ``runtime.g``.

        Its last field begins behind the middle, so doubled it is beyond the end.
        """
        g = self._structs["runtime.g"]
        fields = self._fields(g)
        self._doubled_offsets = bool(fields) and fields[-1][2] >= self._header(g).size

    def forget(self) -> None:
        """Forget the types that were read: they refer to this object, which has megabytes, and it to them."""
        self._types.clear()

    def struct(self, name: str) -> Type:
        """The struct type `name` of package runtime ("runtime.g"); `MissingInfo` if it is not there."""
        try:
            return self._type(self._base + self._structs[name])
        except KeyError:
            raise MissingInfo(f"there is no type descriptor of {name}") from None

    def _type(self, address: int) -> Type:
        found = self._types.get(address)
        if found is None:
            found = self._types[address] = self._read_type(address - self._base)
        return found

    def _read_type(self, offset: int) -> Type:
        header = self._header(offset)
        if header.size > MAX_TYPE_BYTES:
            raise BadDataError(f"implausible size of a type, {header.size} bytes")
        if header.kind == _POINTER:
            target = self._pointers(_POINTER_TAIL, offset + TYPE_HEADER.size)[0]
            return Type(header.size, _SCALARS[_POINTER], target=lambda: self._type(target))
        if header.kind in _SCALARS:
            return Type(header.size, _SCALARS[header.kind], is_channel=header.kind == _CHANNEL)
        if header.kind == _STRUCT_KIND:
            return Type(header.size, members=dict(self._members(offset, header.size)))
        if header.kind == _ARRAY:
            element = self._pointers(_ARRAY_TAIL, offset + TYPE_HEADER.size)[0]
            return Type(header.size, element=lambda: self._type(element))
        words = 3 if header.kind == _SLICE else 2 if header.kind in (_STRING, _INTERFACE) else 0
        return Type(
            header.size, members={str(i): Member(8 * i, lambda: _WORD) for i in range(words)}
        )

    def _members(self, offset: int, size: int) -> Iterator[tuple[str, Member]]:
        for name, kind, place in self._fields(offset):
            where = place >> 1 if self._doubled_offsets else place
            if where > size:
                raise BadDataError("a field lies outside its struct")
            yield (
                self._name(name - self._base),
                Member(
                    where,
                    lambda kind=kind: self._type(kind),  # type: ignore[misc]
                ),
            )

    def _fields(self, offset: int) -> list[tuple[int, ...]]:
        """The fields of the struct at `offset`: addresses of name and type, and encoded offset."""
        _, first, count, _ = self._pointers(_STRUCT, offset + TYPE_HEADER.size)
        if count > _MAX_FIELDS:
            raise BadDataError(f"implausible count of fields of a struct, {count}")
        raw = self._changeable(first - self._base, count * _FIELD.size)
        return list(_FIELD.iter_unpack(raw))

    def _header(self, offset: int) -> _Header:
        size, _, _, _, _, _, kind, _, _, _, _ = TYPE_HEADER.unpack(
            self._bytes(offset, TYPE_HEADER.size)
        )
        return _Header(size, kind & KIND_MASK)

    def _name(self, offset: int) -> str:
        """The ``abi.Name`` at `offset`: flags, length, text."""
        if self._two_byte_lengths:
            begin, length = offset + 3, int.from_bytes(self._bytes(offset + 1, 2), "big")
        else:
            begin, length = self._varint(offset + 1)
        if length > _MAX_NAME_BYTES:
            raise BadDataError(f"implausible length of a name, {length} bytes")
        return self._bytes(begin, length).decode("utf-8", "backslashreplace")

    def _varint(self, offset: int) -> tuple[int, int]:
        """Where an unsigned varint at `offset` ends, and its value; names need two bytes at most."""
        first, second = self._bytes(offset, 2)
        if first < 0x80:
            return offset + 1, first
        return offset + 2, (first & 0x7F) | second << 7

    def _bytes(self, offset: int, size: int) -> bytes:
        self._check(offset, size)
        return self._data[offset : offset + size]

    def _pointers(self, layout: Struct, offset: int) -> tuple[int, ...]:
        return layout.unpack(self._changeable(offset, layout.size))

    def _changeable(self, offset: int, size: int) -> bytes:
        """What is at `offset` and holds addresses: the file may have others than the process."""
        self._check(offset, size)
        return self._memory.read(self._base + offset, size)

    def _check(self, offset: int, size: int) -> None:
        if not 0 <= offset <= len(self._data) - size:
            raise BadDataError("a type descriptor leads out of the type descriptors")
