"""A value in memory, decoded by its Go type: as much of it as limits allow.

Knowledge: ``runtime/runtime2.go`` (``iface``, ``eface``, ``itab``, ``funcval``), ``runtime/chan.go`` (``hchan``),
``runtime/slice.go``, ``runtime/string.go``.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from struct import unpack
from typing import TYPE_CHECKING

import numpy as np

from spyglass.binary.value_types import NUMBERS, SIZES, ValueType
from spyglass.errors import BadDataError, MemoryFault, SpyglassError
from spyglass.go_value import Limits, Value
from spyglass.runtime.variables.maps import map_entries

if TYPE_CHECKING:
    from spyglass.binary.value_descriptors import ValueDescriptors
    from spyglass.runtime.context import Runtime

__all__ = ["Decoder"]

#: What all values of one command may take: how many there are, and how many bytes are read.
_MAX_VALUES, _MAX_BYTES = 20_000, 1 << 24
_MAX_NESTING = 64
#: ``itab``: the descriptor of the dynamic type is its second word.
_ITAB_TYPE = 8
_MAX_LENGTH = 1 << 47
#: Kinds of values that a program does not write at once: a length beside a pointer, a type beside what is of it.
_OF_SEVERAL_WORDS = ("string", "slice", "interface")
_TRIES = 4
_Reader = Callable[[ValueType, bytes, int], Value]


class Decoder:
    """Decodes values in the memory of `runtime`; `types` has those that interfaces hold. What it reads in all is
    bounded."""

    def __init__(self, runtime: Runtime, types: ValueDescriptors | None, limits: Limits) -> None:
        self._runtime = runtime
        self._types = types
        self._limits = limits
        self._values, self._bytes = _MAX_VALUES, _MAX_BYTES
        #: What the value that is decoded is in: addresses and names of types that pointers led to.
        self._above: list[tuple[int, str]] = []
        self._nesting = 0
        self._readers: dict[str, _Reader] = {
            "string": self._string, "slice": self._slice, "array": self._array, "map": self._map,
            "pointer": self._pointer, "interface": self._interface, "struct": self._struct,
            "func": self._func, "chan": self._chan, "unsafe.Pointer": self._address,
        }  # fmt: skip

    def value(self, kind: ValueType, address: int) -> Value:
        """The value of type `kind` at `address`."""
        try:
            return self._decoded(kind, self._read(address, self._needed(kind)), address)
        except SpyglassError as error:
            return _failed(kind, error)

    def _needed(self, kind: ValueType) -> int:
        """How many bytes are read of a value: of an array as many elements as are shown."""
        if kind.kind != "array" or kind.element is None or not kind.length:
            return kind.size
        return min(kind.length, self._limits.elements) * kind.element().size

    def _read(self, address: int, size: int) -> bytes:
        self._bytes -= size
        if self._bytes < 0:
            raise BadDataError("more than is read of all values")
        return self._runtime.memory.read(address, size) if size else b""

    def _decoded(self, kind: ValueType, raw: bytes, address: int) -> Value:
        self._values -= 1
        if self._values < 0 or self._nesting >= _MAX_NESTING:
            return Value(kind.name, kind.kind, cut=True, problem="there is more than is read")
        if len(raw) != SIZES.get(kind.kind, len(raw)):
            return Value(kind.name, kind.kind, problem="its type has an implausible size")
        if kind.kind in NUMBERS:
            return Value(kind.name, kind.kind, number=_number(kind, raw))
        reader = self._readers.get(kind.kind)
        if reader is None:
            return Value(kind.name, kind.kind, problem="unknown kind of type")
        self._nesting += 1
        try:
            if kind.kind in _OF_SEVERAL_WORDS:
                reader = partial(self._of_one_moment, reader)
            return reader(kind, raw, address)
        except (SpyglassError, RecursionError) as error:
            return _failed(kind, error)
        finally:
            self._nesting -= 1

    def _of_one_moment(self, reader: _Reader, kind: ValueType, raw: bytes, address: int) -> Value:
        """What `reader` reads: the words at `address`, one of which says what the other one is, are the same before and
        after."""
        for _ in range(_TRIES):
            try:
                value = reader(kind, raw, address)
            except SpyglassError as error:
                value = _failed(kind, error)
            before, raw = raw, self._read(address, len(raw))
            if raw == before:
                return value
        return Value(kind.name, kind.kind, problem="it changed while it was read")

    def _string(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        pointer, length = unpack("<QQ", raw)
        return self._text(Value(kind.name, kind.kind, length=_length(length)), pointer)

    def _text(self, value: Value, pointer: int) -> Value:
        assert value.length is not None
        shown = min(value.length, self._limits.text_bytes)
        if self._limits.redact:
            return value
        raw, cut = self._read(pointer, shown), shown < value.length
        try:
            return replace(value, text=_decoded_text(raw, cut), cut=cut)
        except UnicodeDecodeError:
            text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
            return replace(value, text=text, escaped=True, cut=cut)

    def _slice(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        pointer, length, capacity = unpack("<QQQ", raw)
        if _length(length) > capacity:
            raise BadDataError("a slice is longer than its capacity")
        value = Value(kind.name, kind.kind, address=pointer, length=length, capacity=capacity)
        if kind.element is None or not length:
            return value
        element = kind.element()
        if element.kind == "uint8":
            return self._text(value, pointer)
        shown = min(length, self._limits.elements)
        raw = self._read(pointer, shown * element.size)
        return replace(
            value, elements=self._elements(element, raw, pointer, shown), cut=shown < length
        )

    def _array(self, kind: ValueType, raw: bytes, address: int) -> Value:
        value = Value(kind.name, kind.kind, length=kind.length)
        if kind.element is None:
            return value
        element, shown = kind.element(), min(kind.length, self._limits.elements)
        if shown * element.size > len(raw):
            raise BadDataError("an array is longer than its type")
        return replace(
            value, elements=self._elements(element, raw, address, shown), cut=shown < kind.length
        )

    def _elements(
        self, element: ValueType, raw: bytes, address: int, count: int
    ) -> tuple[Value, ...]:
        size = element.size
        return tuple(
            self._decoded(element, raw[size * at : size * (at + 1)], address + size * at)
            for at in range(count)
        )

    def _struct(self, kind: ValueType, raw: bytes, address: int) -> Value:
        fields = []
        for each in kind.fields() if kind.fields else ():
            inner = each.type()
            if not 0 <= each.offset <= len(raw) - inner.size:
                raise BadDataError(f"the field {each.name} lies outside its struct")
            part = raw[each.offset : each.offset + inner.size]
            fields.append((each.name, self._decoded(inner, part, address + each.offset)))
            if self._values < 0:
                break
        return Value(kind.name, kind.kind, fields=tuple(fields), cut=self._values < 0)

    def _pointer(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        (pointer,) = unpack("<Q", raw)
        value = Value(kind.name, kind.kind, address=pointer)
        if not pointer or kind.element is None:
            return value
        return self._followed(value, kind.element(), pointer)

    def _followed(self, value: Value, kind: ValueType, address: int) -> Value:
        """`value` with what it refers to, unless that is too deep, or around it."""
        key = (address, kind.name)
        if len(self._above) >= self._limits.depth or key in self._above:
            return replace(value, cut=True)
        self._above.append(key)
        try:
            return replace(value, target=self.value(kind, address))
        finally:
            self._above.pop()

    def _interface(self, kind: ValueType, raw: bytes, address: int) -> Value:
        table, data = unpack("<QQ", raw)
        value = Value(kind.name, kind.kind, address=data if table else 0)
        if not table:
            return value
        if self._types is None:
            raise BadDataError("the types of the program are not known")
        if kind.has_methods:
            table = int.from_bytes(self._read(table + _ITAB_TYPE, 8), "little")
        held = self._types.at(table)
        if held.is_direct:
            return replace(value, target=self._decoded(held, raw[8:], address + 8))
        found = self._followed(value, held, data)
        unread = Value(held.name, held.kind, cut=True)
        return replace(found, target=unread) if found.target is None else found

    def _map(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        (pointer,) = unpack("<Q", raw)
        if not pointer:
            return Value(kind.name, kind.kind, address=0, length=0)
        found = map_entries(self._read, kind, pointer, self._limits.elements)
        value = Value(kind.name, kind.kind, address=pointer, length=_length(found.length))
        if kind.key is None or kind.element is None:
            return replace(value, problem="the types of its keys and values are not known")
        key, element = kind.key(), kind.element()
        entries = tuple(
            (self.value(key, one), self.value(element, other)) for one, other in found.places
        )
        cut = len(entries) < found.length
        moved = not found.is_whole and not cut
        problem = "it changed while it was read" if moved else None
        return replace(value, entries=entries, cut=cut, problem=problem)

    def _chan(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        (pointer,) = unpack("<Q", raw)
        value = Value(kind.name, kind.kind, address=pointer)
        if not pointer:
            return value
        length, capacity = unpack("<QQ", self._read(pointer, 16))
        if _length(length) > capacity:
            raise BadDataError("a channel holds more than its capacity")
        if self._is_of_timer(pointer):
            return replace(value, length=0, capacity=0)
        return replace(value, length=length, capacity=capacity)

    def _is_of_timer(self, channel: int) -> bool:
        """Whether the program sees no element of `channel` in its buffer: that of a timer, since Go 1.23 (runtime/chan.go:
        ``chanlen``, ``chancap``). With GODEBUG=asynctimerchan=1 that has no timer (time.go: ``newTimer``)."""
        layouts = self._runtime.layouts
        if not layouts.has("hchan", "timer"):
            return False
        fields = layouts["hchan"].fields
        assert fields is not None
        return self._read(channel + fields["timer"][1], 8) != bytes(8)

    def _func(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        (pointer,) = unpack("<Q", raw)
        if not pointer:
            return Value(kind.name, kind.kind, address=0)
        entry = int.from_bytes(self._read(pointer, 8), "little")
        function = self._runtime.functions.at(entry)
        name = None if function is None else function.name
        return Value(kind.name, kind.kind, address=entry, function=name)

    def _address(self, kind: ValueType, raw: bytes, _address: int) -> Value:
        return Value(kind.name, kind.kind, address=unpack("<Q", raw)[0])


def _decoded_text(raw: bytes, cut: bool) -> str:
    """`raw` as text, without the part of a character at its end if it was `cut` there. Raises `UnicodeDecodeError` if it is
    not UTF-8."""
    text, _ = utf_8_decode(raw, "strict", not cut)
    return text


def _number(kind: ValueType, raw: bytes) -> bool | int | float | tuple[float, float]:
    if kind.kind == "bool":
        return raw[0] != 0
    found = np.frombuffer(raw, NUMBERS[kind.kind], 1)[0].item()
    return (found.real, found.imag) if isinstance(found, complex) else found


def _length(length: int) -> int:
    if not 0 <= length < _MAX_LENGTH:
        raise BadDataError("implausible length")
    return length


def _failed(kind: ValueType, error: Exception) -> Value:
    if isinstance(error, MemoryFault):
        return Value(kind.name, kind.kind, problem="its memory cannot be read")
    words = error.message if isinstance(error, SpyglassError) else "too deep"
    return Value(kind.name, kind.kind, problem=words)
