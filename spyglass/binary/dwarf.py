"""Struct types from DWARF, touching only what is asked for.

A general parser walks every entry before the one that is wanted, a second's work in a Go program.
Here a struct is found by its name: Go's linker writes names into the entries themselves
(DW_FORM_string), so a search for the bytes of the name leads to the entry, the unit around it to the
abbreviations that decode it, and only that entry and what it refers to are ever decoded.

Knowledge: the DWARF standard, versions 2 to 5 (sections 7.4 to 7.6 of version 5);
cmd/internal/dwarf/dwarf.go (``abbrevs``) and cmd/link/internal/ld/dwarf.go (``newtype``) for what Go
writes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from spyglass.binary.types import MAX_TYPE_BYTES, Member, Type
from spyglass.errors import BadDataError, MissingInfo

if TYPE_CHECKING:
    from spyglass.binary.executable import Executable

__all__ = ["Dwarf"]

_TAG_ARRAY, _TAG_MEMBER, _TAG_POINTER, _TAG_STRUCT = 0x01, 0x0D, 0x0F, 0x13
_TAG_SUBROUTINE, _TAG_TYPEDEF, _TAG_BASE = 0x15, 0x16, 0x24
_TRANSPARENT = (_TAG_TYPEDEF, 0x26, 0x35, 0x47)  # typedef, const, volatile, atomic
_NAME, _BYTE_SIZE, _ENCODING, _LOCATION, _TYPE = 0x03, 0x0B, 0x3E, 0x38, 0x49
_FORM_STRING, _FORM_INDIRECT, _FORM_IMPLICIT = 0x08, 0x16, 0x21
_OP_PLUS_UCONST = 0x23
_POINTER_BYTES = 8

#: DW_FORM -> number of bytes. None: an unsigned LEB128. The two in between depend on the unit.
_FIXED = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x19: 0,
    0x1C: 4, 0x1E: 16, 0x20: 8, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2,
    0x2B: 3, 0x2C: 4,
}  # fmt: skip
_LEB = frozenset((0x0D, 0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23, 0x1F01, 0x1F02))
_OFFSET_SIZED = frozenset((0x0E, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21))
_BLOCK_PREFIX = {0x0A: 1, 0x03: 2, 0x04: 4}
_LEB_BLOCKS = frozenset((0x09, 0x18))
_UNIT_RELATIVE = frozenset((0x11, 0x12, 0x13, 0x14, 0x15))
_FORM_ADDRESS, _FORM_REF_ADDRESS, _FORM_SDATA = 0x01, 0x10, 0x0D

_SCALARS = {2: "u", 4: "f", 5: "i", 6: "i", 7: "u", 8: "u"}  # DW_ATE: boolean, float, signed, ...

_MAX_UNITS = 200_000
_MAX_HITS = 256
_MAX_ABBREVIATIONS = 20_000
_MAX_ATTRIBUTES = 256
_MAX_CHILDREN = 4_096
_MAX_LINKS = 16


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit of .debug_info: the bytes from `begin` to `end`, and what decodes them."""

    begin: int
    end: int
    version: int
    abbreviations: int
    address_bytes: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class _Abbreviation:
    tag: int
    children: bool
    #: (attribute, form, value of DW_FORM_implicit_const)
    attributes: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A debugging information entry; strings that are not in the entry itself are left out."""

    abbreviation: _Abbreviation
    values: dict[int, int | bytes]
    end: int

    def number(self, attribute: int) -> int | None:
        value = self.values.get(attribute)
        return value if isinstance(value, int) else None


class Dwarf:
    """The DWARF of one executable, as `Type`s by name.

    Everything in it is untrusted: `BadDataError` for what cannot be, `MissingInfo` for what is absent.
    """

    def __init__(self, info: bytes, abbreviations: bytes) -> None:
        self._info = info
        self._abbreviation_data = abbreviations
        self._tables: dict[int, dict[int, _Abbreviation]] = {}
        self._types: dict[int, Type] = {}
        self._last_hit: _Unit | None = None

    @classmethod
    def of(cls, executable: Executable) -> Dwarf:
        """The DWARF of `executable`; `MissingInfo` if it has none."""
        info = bytes(executable.section_data(".debug_info"))
        abbreviations = bytes(executable.section_data(".debug_abbrev"))
        if not info or not abbreviations:
            raise MissingInfo("this program has no debug information")
        return cls(info, abbreviations)

    def struct(self, name: str) -> Type:
        """The struct type `name` ("runtime.g"); `MissingInfo` if no entry describes it."""
        wanted = name.encode() + b"\0"
        for hit in self._hits(wanted):
            unit = self._unit_around(hit)
            for at in (hit - 1, hit - 2):
                if unit is not None and self._begins_struct(unit, at, hit):
                    self._last_hit = unit
                    return self._type_at(at)
        raise MissingInfo(f"the debug information does not describe {name}")

    def _hits(self, wanted: bytes) -> Iterator[int]:
        """Where the bytes are: first in the unit of the last struct (Go's are together), then anywhere."""
        ranges = [(0, len(self._info))]
        if self._last_hit is not None:
            ranges.insert(0, (self._last_hit.begin, self._last_hit.end))
        for begin, end in ranges:
            at = begin - 1
            for _ in range(_MAX_HITS):
                at = self._info.find(wanted, at + 1, end)
                if at < 0:
                    break
                yield at

    def _begins_struct(self, unit: _Unit, at: int, name_at: int) -> bool:
        """Whether a struct's entry begins at `at`, its abbreviation code ends at its name."""
        if at < unit.begin:
            return False
        code, end = _uleb(self._info, at)
        if end != name_at:
            return False
        abbreviation = self._table(unit).get(code)
        return (
            abbreviation is not None
            and abbreviation.tag == _TAG_STRUCT
            and abbreviation.attributes[:1] == ((_NAME, _FORM_STRING, 0),)
        )

    @cached_property
    def _units(self) -> list[_Unit]:
        units: list[_Unit] = []
        at = 0
        while at + 11 <= len(self._info) and len(units) < _MAX_UNITS:
            unit = self._read_unit(at)
            if unit.end <= at or unit.end > len(self._info):
                break
            units.append(unit)
            at = unit.end
        return units

    def _read_unit(self, begin: int) -> _Unit:
        at, offset_bytes = begin + 4, 4
        length = self._number(begin, 4)
        if length == 0xFFFFFFFF:
            length, at, offset_bytes = self._number(at, 8), at + 8, 8
        end = at + length
        version = self._number(at, 2)
        at += 2
        if version >= 5:
            address_bytes, abbreviations = (
                self._number(at + 1, 1),
                self._number(at + 2, offset_bytes),
            )
        else:
            abbreviations, address_bytes = (
                self._number(at, offset_bytes),
                self._number(at + offset_bytes, 1),
            )
        return _Unit(begin, end, version, abbreviations, address_bytes, offset_bytes)

    @cached_property
    def _unit_begins(self) -> list[int]:
        return [unit.begin for unit in self._units]

    def _unit_around(self, offset: int) -> _Unit | None:
        index = bisect_right(self._unit_begins, offset) - 1
        if index < 0 or offset >= self._units[index].end:
            return None
        return self._units[index]

    def _table(self, unit: _Unit) -> dict[int, _Abbreviation]:
        table = self._tables.get(unit.abbreviations)
        if table is None:
            table = self._tables[unit.abbreviations] = self._read_table(unit.abbreviations)
        return table

    def _read_table(self, at: int) -> dict[int, _Abbreviation]:
        data, table = self._abbreviation_data, {}
        for _ in range(_MAX_ABBREVIATIONS):
            code, at = _uleb(data, at)
            if code == 0:
                break
            tag, at = _uleb(data, at)
            children, at = _uleb(data, at)
            attributes, at = _read_attributes(data, at)
            table[code] = _Abbreviation(tag, bool(children), attributes)
        return table

    def _entry(self, unit: _Unit, at: int) -> _Entry | None:
        """The entry at `at`; None for the null entry that ends a list of children."""
        code, at = _uleb(self._info, at)
        if code == 0:
            return None
        abbreviation = self._table(unit).get(code)
        if abbreviation is None:
            raise BadDataError(f"debug information: abbreviation {code} is not defined")
        values: dict[int, int | bytes] = {}
        for attribute, form, implicit in abbreviation.attributes:
            if form == _FORM_IMPLICIT:
                values[attribute] = implicit
            else:
                value, at = self._value(unit, form, at)
                values[attribute] = value
        if at > unit.end:
            raise BadDataError("debug information: an entry is longer than its unit")
        return _Entry(abbreviation, values, at)

    def _value(self, unit: _Unit, form: int, at: int) -> tuple[int | bytes, int]:
        """The value of an attribute and where it ends; references are made absolute."""
        if form == _FORM_INDIRECT:
            form, at = _uleb(self._info, at)
        if form == _FORM_STRING:
            end = self._info.find(b"\0", at, unit.end)
            if end < 0:
                raise BadDataError("debug information: a string does not end")
            return self._info[at:end], end + 1
        if form in _LEB_BLOCKS or form in _BLOCK_PREFIX:
            return self._block(form, at)
        if form in _LEB:
            value, end = _sleb(self._info, at) if form == _FORM_SDATA else _uleb(self._info, at)
        else:
            size = _size_of(unit, form)
            value, end = self._number(at, size), at + size
        return (value + unit.begin if form in _UNIT_RELATIVE else value), end

    def _block(self, form: int, at: int) -> tuple[bytes, int]:
        if form in _LEB_BLOCKS:
            size, at = _uleb(self._info, at)
        else:
            prefix = _BLOCK_PREFIX[form]
            size, at = self._number(at, prefix), at + prefix
        return self._info[at : at + min(size, 256)], at + size

    def _number(self, at: int, size: int) -> int:
        if at + size > len(self._info):
            raise BadDataError("debug information ends inside an entry")
        return int.from_bytes(self._info[at : at + size], "little")

    def _type_at(self, offset: int) -> Type:
        found = self._types.get(offset)
        if found is None:
            found = self._types[offset] = self._read_type(offset)
        return found

    def _read_type(self, offset: int) -> Type:
        unit, entry = self._definition(offset)
        tag, size = entry.abbreviation.tag, entry.number(_BYTE_SIZE) or 0
        if not 0 <= size <= MAX_TYPE_BYTES:
            raise BadDataError(f"debug information: a type of {size} bytes is too large to be true")
        if tag in (_TAG_POINTER, _TAG_SUBROUTINE):
            return Type(_POINTER_BYTES, "u8")
        if tag == _TAG_BASE:
            kind = _SCALARS.get(entry.number(_ENCODING) or 0)
            return Type(size, f"{kind}{size}" if kind and size in (1, 2, 4, 8) else "")
        if tag == _TAG_STRUCT:
            return Type(size, members=dict(self._members(unit, entry)))
        target = entry.number(_TYPE)
        if tag == _TAG_ARRAY and target is not None:
            return Type(size, element=lambda: self._type_at(target))
        return Type(size)

    def _definition(self, offset: int) -> tuple[_Unit, _Entry]:
        """The entry at `offset`, behind whatever typedefs and qualifiers are there instead."""
        for _ in range(_MAX_LINKS):
            unit = self._unit_around(offset)
            entry = self._entry(unit, offset) if unit is not None else None
            if unit is None or entry is None:
                raise BadDataError(f"debug information: there is no entry at {offset:#x}")
            target = entry.number(_TYPE)
            if entry.abbreviation.tag not in _TRANSPARENT or target is None:
                return unit, entry
            offset = target
        raise BadDataError("debug information: a type is a name of itself")

    def _members(self, unit: _Unit, struct: _Entry) -> Iterator[tuple[str, Member]]:
        for entry in self._children(unit, struct):
            name, target = entry.values.get(_NAME), entry.number(_TYPE)
            if (
                entry.abbreviation.tag == _TAG_MEMBER
                and isinstance(name, bytes)
                and target is not None
            ):
                where = _member_offset(entry.values.get(_LOCATION, 0))
                yield (
                    name.decode("utf-8", "backslashreplace"),
                    Member(
                        where,
                        lambda target=target: self._type_at(target),  # type: ignore[misc]
                    ),
                )

    def _children(self, unit: _Unit, parent: _Entry) -> Iterator[_Entry]:
        at, depth = parent.end, 1 if parent.abbreviation.children else 0
        for _ in range(_MAX_CHILDREN):
            if depth == 0:
                return
            entry = self._entry(unit, at)
            if entry is None:
                depth, at = depth - 1, at + 1
                continue
            if depth == 1:
                yield entry
            depth, at = depth + entry.abbreviation.children, entry.end
        raise BadDataError("debug information: a struct has too many members to be true")


def _read_attributes(data: bytes, at: int) -> tuple[tuple[tuple[int, int, int], ...], int]:
    attributes: list[tuple[int, int, int]] = []
    for _ in range(_MAX_ATTRIBUTES):
        attribute, at = _uleb(data, at)
        form, at = _uleb(data, at)
        implicit = 0
        if form == _FORM_IMPLICIT:
            implicit, at = _sleb(data, at)
        if attribute == 0 and form == 0:
            return tuple(attributes), at
        attributes.append((attribute, form, implicit))
    raise BadDataError("debug information: an abbreviation does not end")


def _size_of(unit: _Unit, form: int) -> int:
    if form in _FIXED:
        return _FIXED[form]
    if form == _FORM_ADDRESS or (form == _FORM_REF_ADDRESS and unit.version < 3):
        return unit.address_bytes
    if form == _FORM_REF_ADDRESS or form in _OFFSET_SIZED:
        return unit.offset_bytes
    raise BadDataError(f"debug information: form {form:#x} is not known")


def _member_offset(location: int | bytes) -> int:
    """DW_AT_data_member_location: a number, or the expression "add it" (DWARF 2)."""
    if isinstance(location, bytes):
        if location[:1] != bytes([_OP_PLUS_UCONST]):
            raise BadDataError("debug information: the place of a member is not a number")
        location = _uleb(location, 1)[0]
    if not 0 <= location <= MAX_TYPE_BYTES:
        raise BadDataError("debug information: a member is too far from its struct's begin")
    return location


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most 64 bits, and where it ends."""
    value = 0
    for index in range(at, min(at + 10, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << (7 * (index - at))
        if byte < 0x80:
            return value, index + 1
    raise BadDataError("debug information: a number does not end")


def _sleb(data: bytes, at: int) -> tuple[int, int]:
    value, end = _uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if value >> (bits - 1) else value), end
