"""Build info: what Go's linker records of a build (``debug/buildinfo``, ``cmd/link: buildinfo``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from spyglass.binary.executable import Executable

__all__ = ["BuildInfo", "find_build_info", "parse_modinfo"]

_MAGIC = b"\xff Go buildinf:"
_ALIGN = 16
_HEADER_BYTES = 32
#: How far into a data segment the header is looked for when there are no section headers.
_SEARCH_BYTES = 1 << 20
_MAX_HITS = 64
_MAX_VERSION_BYTES = 256
_MAX_TEXT_BYTES = 1 << 22
#: ``runtime/debug.ReadBuildInfo``: 16 bytes before and after the text mark it for other tools.
_MARK_BYTES = 16


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """The Go version, main module and settings of a build; None or empty where not recorded.

    `path`: the import path of the main package. `modules`: the paths of the main module and of all
    others that the program has code of.
    """

    go_version: str | None = None
    path: str | None = None
    module: str | None = None
    module_version: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()


def find_build_info(executable: Executable) -> BuildInfo:
    """Read the build info of `executable`; all None if there is none, or it is malformed."""
    try:
        offset = _find_header(executable)
        if offset is None:
            return BuildInfo()
        version, modinfo = _read_strings(executable, offset)
    except (BadDataError, IndexError):
        return BuildInfo()
    return parse_modinfo(version, modinfo)


def parse_modinfo(go_version: str | None, modinfo: bytes) -> BuildInfo:
    """Decode the text of ``runtime.modinfo`` (``runtime/debug.ParseBuildInfo``)."""
    text = modinfo.decode("utf-8", "backslashreplace") if len(modinfo) <= _MAX_TEXT_BYTES else ""
    path = module = module_version = None
    settings: dict[str, str] = {}
    modules: list[str] = []
    for line in text.splitlines():
        kind, *rest = line.split("\t")
        if kind == "path" and rest:
            path = rest[0]
        elif kind == "mod" and len(rest) >= 2:
            module, module_version = rest[0], rest[1] or None
        if kind in ("mod", "dep") and rest:
            modules.append(rest[0])
        elif kind == "build" and rest:
            key, _, value = rest[0].partition("=")
            settings[key] = value
    return BuildInfo(go_version or None, path, module, module_version, settings, tuple(modules))


def _find_header(executable: Executable) -> int | None:
    """The file offset of the header: in its section, or at the start of a data segment."""
    section = executable.sections.get(".go.buildinfo")
    areas = [(section.offset, section.size)] if section else []
    areas += [
        (s.offset, min(s.file_size, _SEARCH_BYTES)) for s in executable.segments if s.writable
    ]
    for begin, size in areas:
        at = begin - 1
        for _ in range(_MAX_HITS):
            at = executable.image.find(_MAGIC, at + 1, begin + size)
            if at < 0:
                break
            if (at - begin) % _ALIGN == 0:
                return at
    return None


def _read_strings(executable: Executable, offset: int) -> tuple[str | None, bytes]:
    """The Go version and the marked module text behind the header at file `offset`.

    Flag 2 (Go 1.18 and later): both follow inline, each behind a varint; before, the header holds
    pointers to two Go strings. Flag 1 is big-endian, which no supported processor is.
    """
    header = executable.image.read(offset, _HEADER_BYTES)
    pointer_size, flags = header[14], header[15]
    if flags & 2:
        version, after = _inline(executable, offset + _HEADER_BYTES)
        text, _ = _inline(executable, after)
    elif pointer_size == 8 and not flags & 1:
        version, text = (
            executable.string(int.from_bytes(header[at : at + 8], "little"), _MAX_TEXT_BYTES)
            for at in (16, 24)
        )
    else:
        raise BadDataError("build info of an unknown format")
    return _version(version), _unmarked(text)


def _version(raw: bytes) -> str | None:
    """A Go version, which may have a vendor's words behind it, but on one line."""
    version = raw.decode("utf-8", "backslashreplace")
    if len(raw) > _MAX_VERSION_BYTES or not version.isprintable():
        raise BadDataError("implausible Go version")
    return version or None


def _inline(executable: Executable, offset: int) -> tuple[bytes, int]:
    length = shift = 0
    while True:
        byte = executable.image.read(offset, 1)[0]
        offset += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 35:
            break
    if length > _MAX_TEXT_BYTES:
        raise BadDataError("implausible length of build info")
    return executable.image.read(offset, length), offset + length


def _unmarked(text: bytes) -> bytes:
    return text[_MARK_BYTES:-_MARK_BYTES] if len(text) > 2 * _MARK_BYTES else b""
