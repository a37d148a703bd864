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

from collections.abc import Iterator
from struct import Struct, pack
from typing import TYPE_CHECKING, NamedTuple

from spyglass.binary.types import MAX_TYPE_BYTES, Member, Type
from spyglass.errors import BadDataError, MissingInfo

if TYPE_CHECKING:
    from spyglass.memory.base import Memory

__all__ = ["GoTypes"]

#: More than any program has; the largest seen has a twentieth of it.
_MAX_BYTES = 1 << 28
_MAX_FIELDS = 4_096
_MAX_NAME_BYTES = 1 << 10
_MAX_HITS = 64

#: ``abi.Type`` up to ``PtrToThis``: size, pointer bytes, hash, flags, aligns, kind, equal, gc data, name.
_HEADER = Struct("<QQIBBBBQQiI")
#: Behind it in ``StructType``: package path, and the fields as pointer, length, capacity.
_STRUCT = Struct("<QQQQ")
_FIELD = Struct("<QQQ")
_KIND_MASK = 31
_EXTRA_STAR = 1 << 1
_ARRAY, _INTERFACE, _SLICE, _STRING, _STRUCT_KIND = 17, 20, 23, 24, 25
_SCALARS = {
    1: "u1", 2: "i8", 3: "i1", 4: "i2", 5: "i4", 6: "i8", 7: "u8", 8: "u1", 9: "u2", 10: "u4", 11: "u8",
    12: "u8", 13: "f4", 14: "f8", 18: "u8", 19: "u8", 21: "u8", 22: "u8", 26: "u8",
}  # fmt: skip
_WORD = Type(8, "u8")


class _Header(NamedTuple):
    size: int
    flags: int
    kind: int
    name: int


class GoTypes:
    """The type descriptors of one module, as `Type`s by name.

    Everything in them is untrusted: `BadDataError` for what cannot be.
    """

    def __init__(self, memory: Memory, types: int, etypes: int) -> None:
        """Read the descriptors, which are at the addresses `types` to `etypes` of `memory`.

        `MissingInfo` if those of the runtime are not among them.
        """
        if not 0 < etypes - types <= _MAX_BYTES:
            raise BadDataError(f"type descriptors from {types:#x} to {etypes:#x} cannot be true")
        self._base = types
        self._data = memory.read(types, etypes - types)
        self._types: dict[int, Type] = {}
        self._two_byte_lengths = self._doubled_offsets = False
        self._learn_encodings()

    def _learn_encodings(self) -> None:
        """Find out how names and offsets are written, from ``runtime.g``, which every program has."""
        for self._two_byte_lengths in (False, True):
            try:
                g = self._struct_at("runtime.g")
            except MissingInfo:
                continue
            # Its last field begins behind the middle, so doubled it is beyond the end.
            fields = self._fields(g)
            self._doubled_offsets = bool(fields) and fields[-1][2] >= self._header(g).size
            return
        raise MissingInfo("there is no type descriptor of runtime.g")

    def struct(self, name: str) -> Type:
        """The struct type `name` ("runtime.g"); `MissingInfo` if there is no descriptor of it."""
        return self._type(self._base + self._struct_at(name))

    def _struct_at(self, name: str) -> int:
        """The offset of the descriptor of struct `name`, of the package of that very path."""
        package = name.partition(".")[0]
        for offset in self._named(name):
            header = self._header(offset)
            if header.kind == _STRUCT_KIND and header.flags & _EXTRA_STAR:
                where = self._u64(offset + _HEADER.size)
                if where and self._name(where - self._base) == package:
                    return offset
        raise MissingInfo(f"there is no type descriptor of {name}")

    def _named(self, name: str) -> Iterator[int]:
        """Offsets of descriptors of the name "*" and `name`: the type itself, and its pointer type."""
        text = b"*" + name.encode()
        length = len(text).to_bytes(2 if self._two_byte_lengths else 1, "big")
        for at in self._find(length + text):
            for offset in self._find(pack("<i", at - 1)):
                begin = offset - _HEADER.size + 8
                if begin >= 0 and begin % 8 == 0:
                    yield begin

    def _find(self, wanted: bytes) -> Iterator[int]:
        at = -1
        for _ in range(_MAX_HITS):
            at = self._data.find(wanted, at + 1)
            if at < 0:
                return
            yield at

    def _type(self, address: int) -> Type:
        found = self._types.get(address)
        if found is None:
            found = self._types[address] = self._read_type(address - self._base)
        return found

    def _read_type(self, offset: int) -> Type:
        header = self._header(offset)
        if header.size > MAX_TYPE_BYTES:
            raise BadDataError(f"a type of {header.size} bytes is too large to be true")
        if header.kind in _SCALARS:
            return Type(header.size, _SCALARS[header.kind])
        if header.kind == _STRUCT_KIND:
            return Type(header.size, members=dict(self._members(offset, header.size)))
        if header.kind == _ARRAY:
            element = self._u64(offset + _HEADER.size)
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
        _, first, count, _ = self._unpack(_STRUCT, offset + _HEADER.size)
        if not 0 < count <= _MAX_FIELDS:
            return []
        return [self._unpack(_FIELD, first - self._base + i * _FIELD.size) for i in range(count)]

    def _header(self, offset: int) -> _Header:
        size, _, _, flags, _, _, kind, _, _, name, _ = self._unpack(_HEADER, offset)
        return _Header(size, flags, kind & _KIND_MASK, name)

    def _name(self, offset: int) -> str:
        """The ``abi.Name`` at `offset`: flags, length, text."""
        if self._two_byte_lengths:
            begin, length = offset + 3, int.from_bytes(self._bytes(offset + 1, 2), "big")
        else:
            begin, length = self._varint(offset + 1)
        if length > _MAX_NAME_BYTES:
            raise BadDataError(f"a name of {length} bytes cannot be true")
        return self._bytes(begin, length).decode("utf-8", "backslashreplace")

    def _varint(self, offset: int) -> tuple[int, int]:
        """Where an unsigned varint at `offset` ends, and its value; names need two bytes at most."""
        first, second = self._bytes(offset, 2)
        if first < 0x80:
            return offset + 1, first
        return offset + 2, (first & 0x7F) | second << 7

    def _u64(self, offset: int) -> int:
        return int.from_bytes(self._bytes(offset, 8), "little")

    def _bytes(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= len(self._data) - size:
            raise BadDataError("a type descriptor leads out of the type descriptors")
        return self._data[offset : offset + size]

    def _unpack(self, layout: Struct, offset: int) -> tuple[int, ...]:
        return layout.unpack(self._bytes(offset, layout.size))
