"""Package-level variables and their Go types from debug information.

Knowledge: cmd/internal/dwarf/dwarf.go (``abbrevs``, ``DW_AT_go_kind``), cmd/link/internal/ld/dwarf.go (``newtype``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from spyglass.binary.dwarf import (
    Dwarf,
    attribute_number,
    dwarf_errors,
    member_offset,
    target_of,
)
from spyglass.binary.types import MAX_TYPE_BYTES
from spyglass.binary.value_types import KINDS, NUMBERS, Field, ValueType
from spyglass.errors import BadDataError, MissingInfo

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE

__all__ = ["ValueDwarf"]

#: ``DW_AT_go_kind``, ``DW_AT_go_elem``, ``DW_AT_go_runtime_type``: pyelftools has no names for them.
_GO_KIND, _GO_ELEMENT, _GO_DESCRIPTOR = 0x2900, 0x2902, 0x2904
_SIZES = {"map": 8, "chan": 8, "func": 8, "pointer": 8, "unsafe.Pointer": 8, "interface": 16}
_MAX_LINKS = 16
_PACKAGE = re.compile(r"[\w./%~-]+\.")


def _bare(name: str) -> str:
    """The name of a type without packages: debug information has their whole paths, descriptors their names."""
    return _PACKAGE.sub("", name)


class ValueDwarf(Dwarf):
    """The debug information of one executable: types of variables. `descriptor` gives the type that is described at a
    number of ``DW_AT_go_runtime_type``, which knows more of maps; it may raise `BadDataError`."""

    descriptor: Callable[[int], ValueType] | None = None

    def variable(self, name: str) -> ValueType:
        """The type of the package-level variable `name` ("main.counter"); `MissingInfo` if it is not described."""
        at = self.entry_named(name, "DW_TAG_variable")
        with dwarf_errors():
            target = None if at is None else target_of(self._entry(at))
        if target is None:
            raise MissingInfo(f"the debug information does not describe {name}")
        return self.value_type(target)

    def named(self, name: str) -> ValueType:
        """The struct type `name` ("main.Config"); `MissingInfo` if it is not described."""
        at = self.entry_named(name, "DW_TAG_structure_type")
        if at is None:
            raise MissingInfo(f"the debug information does not describe {name}")
        return self.value_type(at)

    def value_type(self, offset: int) -> ValueType:
        """The type whose entry is at `offset`."""
        with dwarf_errors():
            return self._value_type(offset)

    def _value_type(self, offset: int) -> ValueType:
        entry = self._typed_entry(offset)
        kind = KINDS[self._kind(entry)]
        name = entry.attributes["DW_AT_name"].value.decode("utf-8", "backslashreplace")
        if kind in ("map", "interface"):
            described = self._described(entry)
            if described is not None and (described.kind, _bare(described.name)) == (
                kind,
                _bare(name),
            ):
                return described
        size = _SIZES.get(kind) or attribute_number(entry, "DW_AT_byte_size")
        if not 0 <= size <= MAX_TYPE_BYTES:
            raise BadDataError(f"debug information: implausible size of a type, {size} bytes")
        plain = ValueType(name, kind, size, entry.offset)
        if kind in NUMBERS or kind in ("string", "func", "unsafe.Pointer", "map", "interface"):
            return plain
        if kind == "struct":
            return ValueType(name, kind, size, entry.offset, fields=lambda: self._fields_of(entry))
        return self._of_elements(entry, plain)

    def _of_elements(self, entry: DIE, plain: ValueType) -> ValueType:
        """A pointer, a slice, a channel or an array."""
        target = target_of(entry, _GO_ELEMENT if plain.kind in ("slice", "chan") else "DW_AT_type")
        length = self._count(entry) if plain.kind == "array" else 0
        return ValueType(
            plain.name,
            plain.kind,
            plain.size,
            plain.origin,
            element=None if target is None else self._later(target),
            length=length,
        )

    def _later(self, offset: int) -> Callable[[], ValueType]:
        return lambda: self.value_type(offset)

    def _typed_entry(self, offset: int) -> DIE:
        """The entry at `offset`, or what it is another name of, that says of what kind the type is."""
        for _ in range(_MAX_LINKS):
            entry = self._entry(offset)
            if self._kind(entry) and "DW_AT_name" in entry.attributes:
                return entry
            target = target_of(entry)
            if target is None:
                break
            offset = target
        raise BadDataError("debug information: a type without a kind")

    def _kind(self, entry: DIE) -> int:
        """The number of the kind of type, 0 if it does not say so. A pointer to nothing is an ``unsafe.Pointer``."""
        kind = attribute_number(entry, _GO_KIND) & 31
        if not kind and entry.tag == "DW_TAG_pointer_type" and target_of(entry) is None:
            return KINDS.index("unsafe.Pointer")
        return kind if kind < len(KINDS) else 0

    def _described(self, entry: DIE) -> ValueType | None:
        """The same type by its descriptor."""
        number = attribute_number(entry, _GO_DESCRIPTOR)
        if not number or self.descriptor is None:
            return None
        try:
            return self.descriptor(number)
        except BadDataError:
            return None

    def _count(self, entry: DIE) -> int:
        for child in self._children(entry):
            if child.tag == "DW_TAG_subrange_type":
                return attribute_number(child, "DW_AT_count")
        return 0

    def _fields_of(self, entry: DIE) -> Sequence[Field]:
        with dwarf_errors():
            return list(self._value_fields(entry))

    def _value_fields(self, entry: DIE) -> Iterator[Field]:
        for child in self._children(entry):
            name, target = child.attributes.get("DW_AT_name"), target_of(child)
            if child.tag == "DW_TAG_member" and name is not None and target is not None:
                text = name.value.decode("utf-8", "backslashreplace")
                yield Field(text, member_offset(child), self._later(target))
