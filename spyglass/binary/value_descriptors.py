"""Go types of any kind from the type descriptors of a program: they are in every program, stripped or not.

A type has a descriptor if values of it may be in an interface, in a map, or on the heap.

Knowledge: ``internal/abi/type.go`` (``Type``, ``ArrayType``, ``InterfaceType``, ``StructType``), ``internal/abi/map*.go``
(``MapType``); before Go 1.21 ``runtime/type.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from struct import Struct

import numpy as np

from spyglass.binary.gotypes import KIND_MASK, TYPE_HEADER, GoTypes
from spyglass.binary.value_types import KINDS, Field, ValueType, basic_type
from spyglass.errors import BadDataError, MissingInfo, SpyglassError

__all__ = ["ValueDescriptors"]

#: ``TFlagExtraStar``: the name begins with a star that is not its own.
_EXTRA_STAR = 2
#: ``KindDirectIface`` in the kind, ``TFlagDirectIface`` in the flags since Go 1.26; the other one's bit is not used.
_DIRECT = 1 << 5
#: Behind `TYPE_HEADER`: up to three words; of an interface the path of its package, and its methods.
_TAIL = Struct("<QQQ")
_MAX_SIZE = 1 << 40
_MAX_FIELDS = 4096
_MAX_NAME_HITS = 256
#: Composite types that are made of others here, because the program may have no descriptor of them.
_ARRAY = re.compile(r"\[(\d{1,9})\](.+)", re.DOTALL)
_MAX_DEPTH = 16


class ValueDescriptors(GoTypes):
    """The type descriptors of one module as `ValueType`s. Everything in them is untrusted: `BadDataError` for what
    cannot be."""

    def of_debug_information(self, number: int, bias: int) -> ValueType:
        """The type of which ``DW_AT_go_runtime_type`` is `number`: an address of the file, in newer versions the distance
        from the first descriptor (cmd/internal/dwarf: ``DW_CLS_GO_TYPEREF``)."""
        inside = 0 <= number + bias - self._base < len(self._data)
        return self.at(number + bias if inside else self._base + number)

    def at(self, address: int) -> ValueType:
        """The type whose descriptor is at `address`."""
        offset = address - self._base
        if offset % 8:
            raise BadDataError(f"there is no type descriptor at {address:#x}")
        size, _, _, flags, _, _, kind, _, _, name, _ = TYPE_HEADER.unpack(
            self._bytes(offset, TYPE_HEADER.size)
        )
        number = kind & KIND_MASK
        if not 0 < number < len(KINDS) or size > _MAX_SIZE:
            raise BadDataError(f"there is no type descriptor at {address:#x}")
        text = self._name(name)
        text = text[1:] if flags & _EXTRA_STAR and text.startswith("*") else text
        direct = bool((kind | flags) & _DIRECT)
        return self._of_kind(
            ValueType(text, KINDS[number], size, address, is_direct=direct),
            offset + TYPE_HEADER.size,
        )

    def _of_kind(self, plain: ValueType, tail: int) -> ValueType:
        """`plain` with what is behind its descriptor's head, at offset `tail`."""
        if plain.kind in ("pointer", "slice", "chan"):
            (target,) = self._pointers(Struct("<Q"), tail)
            return replace(plain, element=self._later(target))
        if plain.kind == "array":
            target, _, length = self._pointers(_TAIL, tail)
            return replace(plain, element=self._later(target), length=length)
        if plain.kind == "map":
            key, element, storage = map(self._later, self._pointers(_TAIL, tail))
            return replace(plain, key=key, element=element, storage=storage)
        if plain.kind == "struct":
            return replace(plain, fields=lambda: self._struct_fields(tail - TYPE_HEADER.size))
        if plain.kind == "interface":
            return replace(plain, has_methods=self._pointers(_TAIL, tail)[2] > 0)
        return plain

    def _later(self, address: int) -> Callable[[], ValueType]:
        return lambda: self.at(address)

    def _struct_fields(self, offset: int) -> Sequence[Field]:
        """The fields of the struct at `offset`. The offset of one is doubled up to Go 1.18."""
        raw = self._fields(offset)[:_MAX_FIELDS]
        shift = int(self._doubled_offsets)
        return [
            Field(self._name(name - self._base), place >> shift, self._later(kind))
            for name, kind, place in raw
        ]

    def named(self, name: str, depth: int = 0) -> ValueType:
        """The type `name` as Go prints it: "main.Config", "[]string", "map[string]int". Raises `MissingInfo` if the program
        has no descriptor of it, nor of what it is made of."""
        if found := self._described(name):
            return found
        if basic := basic_type(name):
            return basic
        if depth < _MAX_DEPTH:
            if name.startswith("*"):
                return self._made("pointer", name, 8, name[1:], depth)
            if name.startswith("[]"):
                return self._made("slice", name, 24, name[2:], depth)
            if match := _ARRAY.fullmatch(name):
                return self._array(name, int(match[1]), match[2], depth)
        raise MissingInfo(f"the program has no description of the type {name}")

    def _made(self, kind: str, name: str, size: int, element: str, depth: int) -> ValueType:
        inner = self.named(element, depth + 1)
        return ValueType(name, kind, size, element=lambda: inner)

    def _array(self, name: str, length: int, element: str, depth: int) -> ValueType:
        inner = self.named(element, depth + 1)
        if length * inner.size > _MAX_SIZE:
            raise MissingInfo(f"the type {name} is too large")
        return ValueType(name, "array", length * inner.size, element=lambda: inner, length=length)

    def _described(self, name: str) -> ValueType | None:
        """The type of `all_named`, None if there is none. Raises `SpyglassError` if there are several."""
        found = {each.origin: each for each in self.all_named(name)}
        if len(found) > 1:
            raise SpyglassError(
                f"{len(found)} different types of the program are called {name}",
                "where there is debug information, the whole import path tells them apart: "
                "--type example.com/app/config.Config",
            )
        return next(iter(found.values()), None)

    def all_named(self, name: str) -> Iterator[ValueType]:
        """The types of that name that have descriptors: those whose name is at an offset that a descriptor has. Types of
        packages with the same last element have the same name."""
        words = np.frombuffer(self._data, "<u4", len(self._data) // 8 * 2)[0::2]
        for text in (name, f"*{name}"):
            for place in self._places_of(text.encode()):
                for row in np.flatnonzero(words == place)[:_MAX_NAME_HITS].tolist():
                    found = self._at_row(row)
                    if found is not None and found.name == name:
                        yield found

    def _at_row(self, row: int) -> ValueType | None:
        """The type whose descriptor has its name in word `row`."""
        try:
            return self.at(self._base + 8 * row - 40)
        except BadDataError:
            return None

    def _places_of(self, text: bytes) -> list[int]:
        """The offsets of the names that are `text`."""
        if self._two_byte_lengths:
            length = len(text).to_bytes(2, "big")
        elif len(text) < 0x80:
            length = bytes([len(text)])
        else:
            length = bytes([len(text) & 0x7F | 0x80, len(text) >> 7 & 0x7F])
        found: list[int] = []
        at = self._data.find(length + text)
        while at > 0 and len(found) < _MAX_NAME_HITS:
            found.append(at - 1)
            at = self._data.find(length + text, at + 1)
        return found
