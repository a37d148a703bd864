"""Struct types from DWARF, decoded by pyelftools, but found without its walk over all entries.

That walk takes 1.3 s and 45 MB for the unit of package runtime. Here a struct is found by its name: Go's
linker writes names into the entries themselves (DW_FORM_string), so a search for the bytes of the name
leads to the entry, and only that entry and what it refers to are decoded: 0.03 s for all structs of the
runtime, 0.6 s where there are 240 MB of debug information.

Knowledge: cmd/internal/dwarf/dwarf.go (``abbrevs``) and cmd/link/internal/ld/dwarf.go (``newtype``) for
what Go writes; the DWARF standard for the rest.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from elftools.dwarf.die import DIE
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

from spyglass.binary.types import MAX_TYPE_BYTES, Member, Type
from spyglass.errors import BadDataError, MissingInfo, SpyglassError

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit

    from spyglass.binary.executable import Executable

__all__ = ["Dwarf", "attribute_number", "dwarf_errors", "member_offset", "target_of"]

_STRUCT, _ARRAY, _BASE = "DW_TAG_structure_type", "DW_TAG_array_type", "DW_TAG_base_type"
_POINTERS = ("DW_TAG_pointer_type", "DW_TAG_subroutine_type")
_TRANSPARENT = frozenset(f"DW_TAG_{name}_type" for name in ("const", "volatile", "atomic")) | {
    "DW_TAG_typedef"
}
_UNIT_RELATIVE = frozenset(f"DW_FORM_ref{size}" for size in ("1", "2", "4", "8", "", "_udata"))
_POINTER_BYTES = 8
#: DW_ATE: boolean, float, signed, signed and unsigned characters, unsigned.
_SCALARS = {2: "u", 4: "f", 5: "i", 6: "i", 7: "u", 8: "u"}

#: C++ of 30,000,000 lines has a third of it.
_MAX_ABBREVIATION_BYTES = 1 << 26
_MAX_HITS = 256
_MAX_CHILDREN = 4_096
_MAX_LINKS = 16
_MAX_EXPRESSION_BYTES = 16
#: All structs of the runtime take 9,000 reads, 130,000 where there are 240 MB of debug information. A
#: file made to harm ends here, after 1 s and with less than 50 MB.
_MAX_READS = 250_000


class _Section(io.BytesIO):
    """A section for pyelftools. Everything that it does in a loop reads, so this bounds its time."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As of every stream; `BadDataError` when too much was read."""
        self._reads += 1
        if self._reads > _MAX_READS:
            raise BadDataError("debug information that takes too long to read")
        return super().read(size)


class Dwarf:
    """The DWARF of one executable, as `Type`s by name.

    Everything in it is untrusted: `BadDataError` for what cannot be, `MissingInfo` for what is absent.
    """

    def __init__(self, info: bytes, abbreviations: bytes) -> None:
        self._info = info
        self._stream = _Section(info)
        self._dwarf = DWARFInfo(
            DwarfConfig(little_endian=True, machine_arch="x64", default_address_size=8),
            debug_info_sec=_section(".debug_info", self._stream, len(info)),
            debug_abbrev_sec=_section(".debug_abbrev", _Section(abbreviations), len(abbreviations)),
            **dict.fromkeys(_OTHER_SECTIONS),
        )
        self._types: dict[int, Type] = {}
        self._last_hit: CompileUnit | None = None

    @classmethod
    def of(cls, executable: Executable) -> Self:
        """The DWARF of `executable`; `MissingInfo` if it has none."""
        info = executable.section_data(".debug_info")
        abbreviations = executable.section_data(".debug_abbrev", _MAX_ABBREVIATION_BYTES)
        if not info or not abbreviations:
            raise MissingInfo("this program has no debug information")
        return cls(info, abbreviations)

    def struct(self, name: str) -> Type:
        """The struct type `name` ("runtime.g"); `MissingInfo` if no entry describes it."""
        at = self.entry_named(name, _STRUCT)
        if at is None:
            raise MissingInfo(f"the debug information does not describe {name}")
        return self._type_at(at)

    def entry_named(self, name: str, tag: str) -> int | None:
        """The offset of the entry with `tag` that is called `name`; None if there is none."""
        with dwarf_errors():
            for hit in self._hits(name.encode() + b"\0"):
                unit = self._dwarf.get_CU_containing(hit)
                for at in (hit - 1, hit - 2):
                    if self._begins(unit, at, hit, tag):
                        self._last_hit = unit
                        return at
        return None

    def _hits(self, wanted: bytes) -> Iterator[int]:
        """Where the bytes are: first in the unit of the last struct (Go's are together), then anywhere."""
        ranges = [(0, len(self._info))]
        if self._last_hit is not None:
            begin = self._last_hit.cu_offset
            ranges.insert(0, (begin, begin + self._last_hit.size))
        for begin, end in ranges:
            at = begin - 1
            for _ in range(_MAX_HITS):
                at = self._info.find(wanted, at + 1, end)
                if at < 0:
                    break
                yield at

    def _begins(self, unit: CompileUnit, at: int, name_at: int, tag: str) -> bool:
        """Whether an entry with `tag` begins at `at`, whose abbreviation code ends at its name."""
        code = _leb128(self._info[at:name_at])
        if at < unit.cu_die_offset or not code:
            return False
        try:
            abbreviation = unit.get_abbrev_table().get_abbrev(code)
        except KeyError:
            return False
        first = next(abbreviation.iter_attr_specs(), None)
        return abbreviation["tag"] == tag and first == ("DW_AT_name", "DW_FORM_string")

    def _type_at(self, offset: int) -> Type:
        found = self._types.get(offset)
        if found is None:
            with dwarf_errors():
                found = self._types[offset] = self._read_type(offset)
        return found

    def _read_type(self, offset: int) -> Type:
        entry = self._definition(offset)
        size = attribute_number(entry, "DW_AT_byte_size")
        if not 0 <= size <= MAX_TYPE_BYTES:
            raise BadDataError(f"debug information: implausible size of a type, {size} bytes")
        if entry.tag in _POINTERS:
            return Type(_POINTER_BYTES, "u8")
        if entry.tag == _BASE:
            kind = _SCALARS.get(attribute_number(entry, "DW_AT_encoding"))
            return Type(size, f"{kind}{size}" if kind and size in (1, 2, 4, 8) else "")
        if entry.tag == _STRUCT:
            return Type(size, members=dict(self._members(entry)))
        target = target_of(entry)
        if entry.tag == _ARRAY and target is not None:
            return Type(size, element=lambda: self._type_at(target))
        return Type(size)

    def _definition(self, offset: int) -> DIE:
        """The entry at `offset`, or what it is another name or a qualified form of."""
        for _ in range(_MAX_LINKS):
            entry = self._entry(offset)
            target = target_of(entry)
            if entry.tag not in _TRANSPARENT or target is None:
                return entry
            offset = target
        raise BadDataError("debug information: a type is a name of itself")

    def _entry(self, offset: int) -> DIE:
        unit = self._dwarf.get_CU_containing(offset)
        entry = DIE(unit, self._stream, offset)
        if entry.is_null():
            raise BadDataError(f"debug information: there is no entry at {offset:#x}")
        return entry

    def _members(self, struct: DIE) -> Iterator[tuple[str, Member]]:
        for entry in self._children(struct):
            name, target = entry.attributes.get("DW_AT_name"), target_of(entry)
            if entry.tag == "DW_TAG_member" and name is not None and target is not None:
                where = member_offset(entry)
                yield (
                    name.value.decode("utf-8", "backslashreplace"),
                    Member(
                        where,
                        lambda target=target: self._type_at(target),  # type: ignore[misc]
                    ),
                )

    def _children(self, parent: DIE) -> Iterator[DIE]:
        """The entries directly below `parent`.

        Not `DIE.iter_children`: it follows DW_AT_sibling, which may lead in a circle.
        """
        at, depth = parent.offset + parent.size, 1 if parent.has_children else 0
        for _ in range(_MAX_CHILDREN):
            if depth == 0:
                return
            entry = DIE(parent.cu, self._stream, at)
            at += entry.size
            if entry.is_null():
                depth -= 1
                continue
            if depth == 1:
                yield entry
            depth += bool(entry.has_children)
        raise BadDataError("debug information: a struct has too many members")


_OTHER_SECTIONS = (
    "debug_aranges_sec", "debug_frame_sec", "eh_frame_sec", "debug_str_sec", "debug_loc_sec",
    "debug_ranges_sec", "debug_line_sec", "debug_pubtypes_sec", "debug_pubnames_sec", "debug_addr_sec",
    "debug_str_offsets_sec", "debug_line_str_sec", "debug_loclists_sec", "debug_rnglists_sec",
    "debug_sup_sec", "gnu_debugaltlink_sec", "debug_types_sec",
)  # fmt: skip


def _section(name: str, stream: _Section, size: int) -> DebugSectionDescriptor:
    return DebugSectionDescriptor(stream, name, None, size, 0)


@contextmanager
def dwarf_errors() -> Iterator[None]:
    """Turn what pyelftools raises into `BadDataError`.

    For damaged files these are its own errors and those of the package construct, but as well
    AssertionError, AttributeError, KeyError, TypeError, UnicodeDecodeError, ValueError and others.
    """
    try:
        yield
    except SpyglassError:
        raise
    except Exception as error:
        raise BadDataError(f"debug information is damaged: {type(error).__name__}") from error


def attribute_number(entry: DIE, attribute: str | int) -> int:
    """A number that `entry` has, 0 if it has none."""
    found = entry.attributes.get(attribute)  # type: ignore[arg-type]  # Go's own have numbers
    return found.value if found is not None and isinstance(found.value, int) else 0


def target_of(entry: DIE, attribute: str | int = "DW_AT_type") -> int | None:
    """The offset of the entry of the type of `entry`, None if it has none."""
    found = entry.attributes.get(attribute)  # type: ignore[arg-type]
    if found is None or not isinstance(found.raw_value, int):
        return None
    begin: int = entry.cu.cu_offset if found.form in _UNIT_RELATIVE else 0
    return begin + found.raw_value


def member_offset(member: DIE) -> int:
    """DW_AT_data_member_location: a number, or the expression "add it" (DWARF 2); 0 if there is none."""
    found = member.attributes.get("DW_AT_data_member_location")
    location: Any = 0 if found is None else found.value
    if isinstance(location, list) and len(location) <= _MAX_EXPRESSION_BYTES:
        first, *others = DWARFExprParser(member.cu.structs).parse_expr(location)
        if first.op_name == "DW_OP_plus_uconst" and not others:
            location = first.args[0]
    if not isinstance(location, int):
        raise BadDataError("debug information: the offset of a member is not a number")
    if not 0 <= location <= MAX_TYPE_BYTES:
        raise BadDataError(f"debug information: implausible offset of a member, {location} bytes")
    return location


def _leb128(raw: bytes) -> int | None:
    """The number that `raw`, of two bytes at most, is as a whole (unsigned LEB128); None if it is none."""
    if len(raw) == 1 and raw[0] < 0x80:
        return raw[0]
    if len(raw) == 2 and raw[0] >= 0x80 > raw[1]:
        return raw[0] & 0x7F | raw[1] << 7
    return None
