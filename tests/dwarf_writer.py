"""Writes DWARF: units of structs, base types, typedefs and arrays, as Go's linker or a C compiler does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

STRUCT, MEMBER, BASE, TYPEDEF, ARRAY, POINTER, UNIT, SUBRANGE = (
    0x13, 0x0D, 0x24, 0x16, 0x01, 0x0F, 0x11, 0x21,
)  # fmt: skip
SIBLING, NAME, SIZE, ENCODING, AT, TYPE, GO_KIND = 0x01, 0x03, 0x0B, 0x3E, 0x38, 0x49, 0x2900
STRING, UDATA, DATA1, REF_ADDR, REF4, BLOCK1, BLOCK4, STRP, IMPLICIT = (
    0x08, 0x0F, 0x0B, 0x10, 0x13, 0x0A, 0x04, 0x0E, 0x21,
)  # fmt: skip

Forms = Sequence[tuple[int, int]]


def uleb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass
class DwarfWriter:
    """Units one after another; `types` remembers where named entries are, for references to them."""

    version: int = 5
    wide: bool = False
    info: bytearray = field(default_factory=bytearray)
    abbreviations: bytearray = field(default_factory=bytearray)
    types: dict[str, int] = field(default_factory=dict)
    _patches: list[tuple[int, int, str]] = field(default_factory=list)
    _codes: dict[tuple[object, ...], int] = field(default_factory=dict)
    _unit: int = 0
    _table: int = 0

    def begin_unit(self) -> None:
        """Begin a unit with abbreviations of its own."""
        self._unit, self._table = len(self.info), len(self.abbreviations)
        self._codes = {}
        self.info += b"\xff\xff\xff\xff" + bytes(8) if self.wide else bytes(4)
        self.info += self.version.to_bytes(2, "little")
        table = self._table.to_bytes(8 if self.wide else 4, "little")
        self.info += b"\x01\x08" + table if self.version >= 5 else table + b"\x08"
        self.entry(UNIT, [(NAME, STRING)], [b"runtime\0"], children=True)

    def entry(
        self, tag: int, forms: Forms, values: Sequence[bytes | str], children: bool = False
    ) -> int:
        """An entry; a value that is a str is a reference to the type of that name."""
        key = (tag, tuple(forms), children)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self._codes) + 1
            self.abbreviations += uleb(code) + uleb(tag) + bytes([children])
            for attribute, form in forms:
                self.abbreviations += uleb(attribute) + uleb(form)
                if form == IMPLICIT:
                    self.abbreviations += b"\x07"
            self.abbreviations += b"\0\0"
        begin = len(self.info)
        self.info += uleb(code)
        for (_, form), value in zip(forms, values, strict=True):
            if isinstance(value, str):
                self._patches.append((len(self.info), form, value))
                value = bytes(8 if form == REF_ADDR and self.wide else 4)
            self.info += value
        return begin

    def end_children(self) -> None:
        self.info.append(0)

    def end_unit(self) -> None:
        """End the unit, and with it its table of abbreviations."""
        self.end_children()
        self.abbreviations.append(0)
        for at, form, name in self._patches:
            target = self.types[name] - (self._unit if form == REF4 else 0)
            size = 8 if form == REF_ADDR and self.wide else 4
            self.info[at : at + size] = target.to_bytes(size, "little")
        self._patches = []
        if self.wide:
            length = len(self.info) - self._unit - 12
            self.info[self._unit + 4 : self._unit + 12] = length.to_bytes(8, "little")
        else:
            length = len(self.info) - self._unit - 4
            self.info[self._unit : self._unit + 4] = length.to_bytes(4, "little")

    def base(self, name: str, encoding: int, size: int) -> None:
        forms = [(NAME, STRING), (ENCODING, DATA1), (SIZE, DATA1), (GO_KIND, IMPLICIT)]
        values = [name.encode() + b"\0", bytes([encoding]), bytes([size]), b""]
        self.types[name] = self.entry(BASE, forms, values)

    def pointer(self, name: str) -> None:
        self.types[name] = self.entry(POINTER, [(NAME, STRING)], [name.encode() + b"\0"])

    def typedef(self, name: str, target: str) -> None:
        forms = [(NAME, STRING), (TYPE, REF_ADDR)]
        self.types[name] = self.entry(TYPEDEF, forms, [name.encode() + b"\0", target])

    def array(self, name: str, element: str, size: int) -> None:
        forms = [(NAME, STRING), (TYPE, REF_ADDR), (SIZE, UDATA)]
        values: list[bytes | str] = [name.encode() + b"\0", element, uleb(size)]
        self.types[name] = self.entry(ARRAY, forms, values, children=True)
        self.entry(SUBRANGE, [(SIZE, DATA1)], [b"\1"])
        self.end_children()

    def struct(
        self, name: str, size: int, *members: tuple[str, int, str], block: bool = False
    ) -> None:
        """A struct of members (name, offset, type); `block`: offsets as expressions, types within the unit."""
        forms = [(NAME, STRING), (SIZE, UDATA)]
        self.types[name] = self.entry(
            STRUCT, forms, [name.encode() + b"\0", uleb(size)], children=True
        )
        for member, at, kind in members:
            values: list[bytes | str] = [member.encode() + b"\0", b"", kind]
            values[1] = bytes([1 + len(uleb(at)), 0x23]) + uleb(at) if block else uleb(at)
            self.entry(
                MEMBER,
                [
                    (NAME, STRING),
                    (AT, BLOCK1 if block else UDATA),
                    (TYPE, REF4 if block else REF_ADDR),
                ],
                values,
            )
        self.end_children()
