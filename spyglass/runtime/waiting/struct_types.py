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
#: What objects of each kind are: path of the package and name. The inner mutex of package sync is one by itself since
#: Go 1.24.
_OF_KINDS = {
    "mutex": (("sync", "sync.Mutex"), ("internal/sync", "sync.Mutex")),
    "rwmutex": (("sync", "sync.RWMutex"),),
    "waitgroup": (("sync", "sync.WaitGroup"),),
    "once": (("sync", "sync.Once"),),
    "cond": (("sync", "sync.Cond"),),
    "semaphore": (("internal/poll", "poll.fdMutex"),),
}
_MAX_DEPTH = 8
_MAX_MEMBERS = 1 << 12


class Receiver(NamedTuple):
    """The type of a method's receiver: `name` as in the function's ("main.(*pool)"), and the struct."""

    name: str
    type: Type

    def field_at(self, offset: int, wanted: tuple[Type, ...]) -> str | None:
        """The name of the field, of fields of fields, at `offset`, which is of one of the types `wanted`; None if
        there is none."""
        try:
            found = _part_at(self.type, offset, lambda part: _is_one_of(part, wanted))
        except SpyglassError:
            return None
        return self.name + found[0] if found is not None and found[0] else None

    def pointer_at(self, offset: int, wanted: tuple[Type, ...]) -> str | None:
        """The name of what the pointer at `offset` refers to: the field, or if that refers to a struct that begins
        with one of the types `wanted`, its field. None if it is something else."""
        try:
            found = _part_at(self.type, offset, lambda part: part.target is not None)
            if found is None or found[1].target is None:
                return None
            inner = _part_at(found[1].target(), 0, lambda part: _is_one_of(part, wanted))
        except SpyglassError:
            return None
        return self.name + found[0] + inner[0] if inner is not None else None

    def channel_at(self, offset: int) -> str | None:
        """The name of the channel at `offset`, None if it is something else."""
        try:
            found = _part_at(self.type, offset, lambda part: part.is_channel)
        except SpyglassError:
            return None
        return self.name + found[0] if found is not None else None


def _is_one_of(part: Type, wanted: tuple[Type, ...]) -> bool:
    return any(part is each for each in wanted)


def _part_at(
    inner: Type, offset: int, is_wanted: Callable[[Type], bool]
) -> tuple[str, Type] | None:
    """The part that begins at `offset` of `inner` and is wanted, the outermost of several: what to write behind the
    name of the whole (".state.mu", ".shards[3].mu"), and its type."""
    path = ""
    for _ in range(_MAX_DEPTH):
        if is_wanted(inner):
            return (path, inner) if not offset else None
        if inner.element is not None:
            inner = inner.element()
            if not inner.size:
                return None
            index, offset = divmod(offset, inner.size)
            path += f"[{index}]"
            continue
        found = _member_at(inner, offset)
        if found is None or not found[0].isidentifier():
            return None
        name, begin, inner = found
        path, offset = f"{path}.{name}", offset - begin
    return None


def _member_at(inner: Type, offset: int) -> tuple[str, int, Type] | None:
    """The member of a struct that covers `offset`: its name, its offset, its type."""
    for name, member in islice(inner.members.items(), _MAX_MEMBERS):
        if member.offset <= offset < member.offset + member.type().size:
            return name, member.offset, member.type()
    return None


class StructTypes:
    """The struct types of one program, by the functions that are methods of pointers to them."""

    def __init__(self, runtime: Runtime, constant: Callable[[int, int], bytes]) -> None:
        self._known: dict[str, Receiver | None] = {}
        self._kinds: dict[str, tuple[Type, ...]] = {}
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

    def of_kind(self, kind: str) -> tuple[Type, ...]:
        """The types that objects of `kind` have (`spyglass.wait_graph.KINDS`); empty if they are not described."""
        if kind not in self._kinds:
            found = [self._struct(path, name) for path, name in _OF_KINDS.get(kind, ())]
            self._kinds[kind] = tuple(each for each in found if each is not None)
        return self._kinds[kind]

    def _find(self, key: str, path: str, name: str) -> Receiver | None:
        path = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), path)
        *_, last = [part for part in path.split("/") if not _VERSION.match(part)] or [path]
        found = self._struct(path, f"{last}.{name}")
        return (
            Receiver(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), key), found)
            if found
            else None
        )

    def _struct(self, path: str, name: str) -> Type | None:
        try:
            if self._open is not None:  # many stacks have no such methods
                opening, self._open = self._open, None
                self._types = opening()
            return self._types.struct_of(path, name) if self._types else None
        except SpyglassError:
            return None


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
