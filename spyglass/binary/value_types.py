"""Go types of any kind, with what is needed to decode a value: fields, elements, keys.

They come from Go's type descriptors (`spyglass.binary.value_descriptors`), or from debug information
(`spyglass.binary.value_dwarf`); both are read lazily, because a type may refer to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["KINDS", "NUMBERS", "SIZES", "Field", "ValueType", "basic_type"]

#: ``abi.Kind``, in its order (``reflect.Kind`` before Go 1.21), the same in all versions.
KINDS = (
    "invalid", "bool", "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64",
    "uintptr", "float32", "float64", "complex64", "complex128", "array", "chan", "func", "interface", "map",
    "pointer", "slice", "string", "struct", "unsafe.Pointer",
)  # fmt: skip

#: numpy's codes of numbers, by kind.
NUMBERS = {
    "bool": "?", "int": "<i8", "int8": "<i1", "int16": "<i2", "int32": "<i4", "int64": "<i8", "uint": "<u8",
    "uint8": "<u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "uintptr": "<u8", "float32": "<f4",
    "float64": "<f8", "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip
_WORDS = {
    "string": 16, "slice": 24, "interface": 16, "pointer": 8, "map": 8, "chan": 8, "func": 8, "unsafe.Pointer": 8,
}  # fmt: skip
_BITS = {
    "bool": 1, "int": 8, "uint": 8, "uintptr": 8, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
#: The sizes of values of those kinds that have one, in bytes.
SIZES = _WORDS | {kind: int(code[2:] or 1) for kind, code in NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct, `offset` bytes from its begin."""

    name: str
    offset: int
    type: Callable[[], ValueType]


@dataclass(frozen=True)
class ValueType:
    """A Go type of `size` bytes; `kind` is one of `KINDS`.

    `element`: of an array, a slice, a map, a channel, and what a pointer points to; None: not known. `key`: of a map.
    `storage`: the struct that a map keeps entries in: a group of slots (Go 1.24 and later) or a bucket; None: not
    known. `fields`: of a struct. `length`: of an array. `has_methods`: an interface that has some. `is_direct`: an interface
    has the value itself in its second word, not its address. `origin`: equal for
    equal types of one source.
    """

    name: str
    kind: str
    size: int
    origin: int = 0
    element: Callable[[], ValueType] | None = None
    key: Callable[[], ValueType] | None = None
    storage: Callable[[], ValueType] | None = None
    fields: Callable[[], Sequence[Field]] | None = None
    length: int = 0
    has_methods: bool = False
    is_direct: bool = False


def basic_type(name: str) -> ValueType | None:
    """The predeclared type `name`, such as "int" and "string"; None if it is none."""
    name = {"byte": "uint8", "rune": "int32", "any": "interface {}", "error": "error"}.get(
        name, name
    )
    if name in NUMBERS:
        size = _BITS.get(name) or int(name.lstrip("uint")) // 8
        return ValueType(name, name, size)
    if name in ("string", "unsafe.Pointer"):
        return ValueType(name, name, _WORDS[name])
    if name in ("interface {}", "error"):
        return ValueType(name, "interface", _WORDS["interface"], has_methods=name == "error")
    return None
