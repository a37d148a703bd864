"""Makes function tables as Go's linker does since Go 1.20 (``cmd/link/internal/ld/pcln.go``)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["FunctionSpec", "pc_table", "varint", "write_table"]

MAGIC = 0xFFFFFFF1
#: Where the functions are from: those of package runtime from the second.
FILES = ("/src/program.go", "/go/src/runtime/proc.go")
_HEADER_BYTES = 72


@dataclass(frozen=True)
class FunctionSpec:
    """A function of `size` bytes, and the raw pc-value tables of its frame sizes and lines.

    `file`: where it is from; None: one of `FILES`.
    """

    name: str
    size: int
    frames: bytes
    lines: bytes = field(default_factory=lambda: pc_table([(1 << 20, 1)]))
    func_id: int = 0
    flags: int = 0
    file: str | None = None

    @property
    def path(self) -> str:
        """The file that it is from."""
        return self.file or FILES[self.name.startswith("runtime.")]


def varint(value: int) -> bytes:
    """An unsigned varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def pc_table(steps: Sequence[tuple[int, int]], quantum: int = 1) -> bytes:
    """The table of `steps`: for so many bytes, this value."""
    raw, last = b"", -1
    for size, value in steps:
        change = value - last
        raw += varint(change << 1 if change >= 0 else (-change << 1) - 1) + varint(size // quantum)
        last = value
    return raw + b"\0"


def write_table(functions: Sequence[FunctionSpec], quantum: int = 1) -> bytes:
    """The table of `functions`, one behind the other from the beginning of the text."""
    names = b"\0"
    name_places = []
    for function in functions:
        name_places.append(len(names))
        names += function.name.encode() + b"\0"
    paths = list(dict.fromkeys([*FILES, *(function.path for function in functions)]))
    files, path_places = b"\0", []
    for path in paths:
        path_places.append(len(files))
        files += path.encode() + b"\0"
    cus = struct.pack(f"<{len(paths)}I", *path_places)
    pcs, pc_places = b"\0", []
    for function in functions:
        pc_places.append((len(pcs), len(pcs) + len(function.frames)))
        pcs += function.frames + function.lines
    file_places = {}
    for number, path in enumerate(paths):
        file_places[path] = len(pcs)
        pcs += pc_table([(1 << 20, number)], quantum)
    index_bytes = 8 * len(functions) + 4
    records, index, entry = b"", b"", 0
    for function, name, (frames, lines) in zip(functions, name_places, pc_places, strict=True):
        index += struct.pack("<II", entry, index_bytes + len(records))
        records += struct.pack(
            "<IiiIIIIIIiBBBB", entry, name, 0, 0, frames, file_places[function.path], lines, 0, 0, 1,
            function.func_id, function.flags, 0, 0,
        )  # fmt: skip
        entry += function.size
    index += struct.pack("<I", entry)
    places, parts = [], b""
    for part in (names, cus, files, pcs, index + records):
        parts += bytes(-len(parts) % 8)
        places.append(_HEADER_BYTES + len(parts))
        parts += part
    head = struct.pack("<IBBBBQQQ", MAGIC, 0, 0, quantum, 8, len(functions), 1, 0)
    return head + struct.pack("<5Q", *places) + parts
