"""Names of the fields of struct types that methods have as receivers."""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from spyglass.binary.gotypes import GoTypes
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from spyglass.binary.pclntab import FunctionTable
    from spyglass.binary.types import Type
    from spyglass.memory.base import Memory
    from spyglass.runtime.context import Runtime

__all__ = ["Receiver", "StructTypes", "struct_types"]

#: A method with a pointer receiver: path of the package, its last element, the type. No closures within it, no
#: type parameters.
_METHOD = re.compile(r"^((?:.*/)?([^/.]+))\.\(\*([^\[\]().]+)\)\.[^.\[\]()]+$")
#: What the linker writes for characters of a path (cmd/internal/objabi: ``PathToPrefix``).
_ESCAPED = re.compile(r"%([0-9a-f]{2})")
_VERSION = re.compile(r"^v\d+$")
_MAX_DEPTH = 8
_MAX_MEMBERS = 1 << 12


class Receiver(NamedTuple):
    """The type of a method's receiver: `name` as in the function's ("main.(*pool)"), and the struct."""

    name: str
    type: Type

    def field_at(self, offset: int, size: int) -> str | None:
        """The name of the field, of fields of fields, at `offset` of something of `size` bytes; None if
        there is none."""
        path: list[str] = []
        inner = self.type
        for _ in range(_MAX_DEPTH):
            if not inner.members or inner.size <= size:
                break
            found = _member_at(inner, offset)
            if found is None:
                return None
            name, begin, inner = found
            path.append(name)
            offset -= begin
        if not path or offset or any(not part.isidentifier() for part in path):
            return None
        return f"{self.name}." + ".".join(path)

    def pointer_at(self, offset: int) -> str | None:
        """The name of the field at `offset` if that can be a pointer or a channel."""
        found = _member_at(self.type, offset)
        if found is None or found[1] != offset or found[2].scalar != "u8":
            return None
        return f"{self.name}.{found[0]}" if found[0].isidentifier() else None


def _member_at(inner: Type, offset: int) -> tuple[str, int, Type] | None:
    """The member of a struct that covers `offset`: its name, its offset, its type."""
    try:
        for name, member in islice(inner.members.items(), _MAX_MEMBERS):
            if member.offset <= offset < member.offset + member.type().size:
                return name, member.offset, member.type()
    except SpyglassError:
        return None
    return None


class StructTypes:
    """The struct types of one program, by the functions that are methods of pointers to them."""

    def __init__(self, runtime: Runtime, constant: Callable[[int, int], bytes]) -> None:
        self._known: dict[str, Receiver | None] = {}
        self._types: GoTypes | None = None
        self._open: Callable[[], GoTypes] | None = None
        try:
            # Not the runtime itself: these types are kept for as long as something else has it.
            place = runtime.address("firstmoduledata"), runtime.layouts["moduledata"]
            self._open = partial(_types_of, runtime.memory, *place, constant)
        except SpyglassError:
            return

    def __del__(self) -> None:
        if self._types is not None:
            self._types.forget()  # else its megabytes wait for the garbage collector

    def receiver(self, function: str) -> Receiver | None:
        """The receiver of `function`, None if it is no method of a pointer to a struct that is described."""
        match = _METHOD.match(function)
        if match is None:
            return None
        key = function.rpartition(".")[0]
        if key not in self._known:
            self._known[key] = self._find(key, match[1], match[3])
        return self._known[key]

    def _find(self, key: str, path: str, name: str) -> Receiver | None:
        path = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), path)
        *_, last = [part for part in path.split("/") if not _VERSION.match(part)] or [path]
        try:
            if self._open is not None:  # many stacks have no such methods
                opening, self._open = self._open, None
                self._types = opening()
            found = self._types.struct_of(path, f"{last}.{name}") if self._types else None
        except SpyglassError:
            return None
        return (
            Receiver(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), key), found)
            if found
            else None
        )


def _types_of(
    memory: Memory, address: int, layout: np.dtype[Any], constant: Callable[[int, int], bytes]
) -> GoTypes:
    """The types that the module at `address` describes."""
    row = memory.array(address, layout, 1)[0]
    return GoTypes(memory, int(row["types"]), int(row["etypes"]), constant)


_KNOWN: WeakKeyDictionary[FunctionTable, StructTypes] = WeakKeyDictionary()


def struct_types(runtime: Runtime, constant: Callable[[int, int], bytes]) -> StructTypes:
    """Those of the program of `runtime`, remembered. `constant` reads (address, size) of what never changes."""
    known = _KNOWN.get(runtime.functions)
    if known is None:
        known = _KNOWN[runtime.functions] = StructTypes(runtime, constant)
    return known
