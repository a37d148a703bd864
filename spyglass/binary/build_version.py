"""The Go version of a program without build info: the variable ``runtime.buildVersion`` in its file.

The linker sets it (up to Go 1.17 the compiler). ``runtime.schedinit`` replaces it where it is empty, so
that its code names the variable in programs without symbols too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from spyglass.binary.pclntab import FunctionTable, find_pclntabs
from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from spyglass.binary.executable import Executable

__all__ = ["VERSION", "find_build_version"]

#: How the text of the variable begins (``runtime.Version``).
VERSION = re.compile(r"(devel )?go1\.\d+")
_MAX_VERSION_BYTES = 256
_MAX_CODE_BYTES = 1 << 14
_MAX_TABLES = 8
#: Where the header of the function table has the beginning of the code, up to Go 1.25.
_TEXT_START = 24


def find_build_version(executable: Executable) -> str | None:
    """The Go version of `executable`, None if it cannot be found."""
    for address in _places(executable):
        try:
            raw = executable.string(address, _MAX_VERSION_BYTES)
        except BadDataError:
            continue
        text = raw.decode("utf-8", "backslashreplace")
        if VERSION.match(text) and text.isprintable():
            return text
    return None


def _places(executable: Executable) -> Iterator[int]:
    """The addresses where the variable may be: that of its symbol, then those that schedinit names."""
    symbol = executable.symbol("runtime.buildVersion")
    if symbol is not None:
        yield symbol
        return
    from spyglass.binary.xrefs import references

    for address, code in _schedinit(executable):
        yield from sorted(references(code, address, executable.arch))


def _schedinit(executable: Executable) -> Iterator[tuple[int, bytes]]:
    """Address and code of ``runtime.schedinit``, for each place where the program's code may begin."""
    for place in islice(find_pclntabs(executable), _MAX_TABLES):
        view = memoryview(executable.image.read(place.offset, place.size))
        for text in _text_starts(executable, view):
            try:
                function = FunctionTable(view, text).named("runtime.schedinit")
                if function and 0 < function.end - function.entry <= _MAX_CODE_BYTES:
                    size = function.end - function.entry
                    yield function.entry, executable.read(function.entry, size)
            except BadDataError:
                continue


def _text_starts(executable: Executable, table: memoryview) -> set[int]:
    """Where the code of the program may begin (``runtime.text``).

    The function table said so up to Go 1.25; otherwise it is the beginning of the section or segment.
    """
    starts = {int.from_bytes(table[_TEXT_START : _TEXT_START + 8], "little")}
    if (section := executable.sections.get(".text")) is not None:
        starts.add(section.address)
    first = next((each for each in executable.segments if each.executable), None)
    if first is not None:
        # The code of a program without C begins a page behind the headers (``ld.HEADR``).
        starts |= {first.address, first.address + 0x1000}
    return starts
