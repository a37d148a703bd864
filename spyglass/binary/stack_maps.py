"""Which words of a frame hold live pointers: what the garbage collector is told of each call.

Knowledge: ``runtime/stkframe.go: getStackMap``, ``stackObjectRecord`` (in Go up to 1.20
``runtime/stack.go``), ``runtime/symtab.go: stackmap``, and ``traceback.go: unwinder.resolveInternal``
for what the words count from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, SpyglassError

if TYPE_CHECKING:
    from spyglass.binary.inline_trees import InlineTrees
    from spyglass.binary.pclntab import Function, FunctionTable

__all__ = ["FrameMap", "StackMaps", "StackObject"]

_WORD_BYTES = 8
#: ``FUNCDATA_ArgsPointerMaps``, ``FUNCDATA_LocalsPointerMaps``.
_ARGUMENTS, _LOCALS = 0, 1
#: ``FUNCDATA_StackObjects`` by ``FUNCDATA_InlTree``: Go 1.12, 1.13 to 1.15, since 1.16.
_OBJECTS = {2: 4, 4: 3, 3: 2}
_STACKMAP_HEADER_BYTES = 8
#: Frames of more words, or with more objects, are said not to be understood.
_MAX_WORDS = 1 << 16
_MAX_OBJECTS = 1 << 12
_MAX_KNOWN = 1 << 20


class StackObject(NamedTuple):
    """A variable on the stack whose address is taken: `words` words that may hold pointers, from word
    `begin` on. They are live if a live pointer points to it."""

    begin: int
    words: int


class FrameMap(NamedTuple):
    """Where a frame holds pointers, in words from the sp of its function at a call.

    `size`: up to the return address that the caller pushed (amd64), or up to the caller's frame (arm64).
    `live`: the words that hold live pointers, locals and arguments (which are in the caller's frame).
    `objects`: its stack objects.
    """

    size: int
    live: tuple[int, ...]
    objects: tuple[StackObject, ...]


class StackMaps:
    """The pointer maps of the functions of one table; `trees` reads their funcdata.

    `link_register`: for processors that keep the return address in one.
    """

    def __init__(self, functions: FunctionTable, trees: InlineTrees, link_register: bool) -> None:
        self._functions = functions
        self._trees = trees
        self._link_register = link_register
        self._known: dict[tuple[int, int, int], FrameMap | None] = {}
        self._objects_of: dict[int, tuple[StackObject, ...]] = {}

    def at(self, function: Function, pc: int) -> FrameMap | None:
        """The frame of `function` while it calls at `pc`, a return address, or `function.entry` before it
        has begun. None if that is not known: any word of the frame may be a pointer then."""
        try:
            inside = max(pc - 1, function.entry)
            size = self._functions.frame_size(function, pc)
            if size is None or size % _WORD_BYTES:
                return None
            index = None
            if pc != function.entry:
                table = self._trees.indices(self._functions).pcdata - 1  # since Go 1.12
                index = self._functions.pcdata(function, table, inside)
            return self._frame_map(function, size // _WORD_BYTES, -1 if index is None else index)
        except SpyglassError:
            return None

    def _frame_map(self, function: Function, size: int, index: int) -> FrameMap | None:
        # No index: most likely the prologue, and the first map is right (getStackMap).
        key = function.index, size, max(index, 0)
        if key not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = self._decode(function, size, max(index, 0)) if index >= -1 else None
        return self._known[key]

    def _decode(self, function: Function, size: int, index: int) -> FrameMap | None:
        if not 0 <= size < 1 << 27:
            return None
        # One word is for the caller's frame pointer, if there is a frame.
        varp = size - 1 if size else 0
        argp = size + 1
        arguments = self._functions.argument_bytes(function)
        if arguments is None:
            return None
        live: list[int] = []
        if varp > (2 if self._link_register else 0):
            bits = self._bits(function, _LOCALS, index)
            live += [varp - len(bits) + int(at) for at in np.flatnonzero(bits)]
        if arguments >= _WORD_BYTES:
            bits = self._bits(function, _ARGUMENTS, index)
            live += [argp + int(at) for at in np.flatnonzero(bits)]
        objects = [
            StackObject(begin + (varp if begin < 0 else argp), words)
            for begin, words in self._objects(function)
        ]
        # An object below sp has not been allocated yet (mgcmark.go: scanframeworker).
        return FrameMap(
            size,
            tuple(at for at in live if at >= 0),
            tuple(each for each in objects if each.begin >= 0),
        )

    def _bits(
        self, function: Function, kind: int, index: int
    ) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Map `index` of the pointer maps `kind`: for each word whether it holds a live pointer."""
        address = self._trees.funcdata(self._functions, function, kind)
        if address is None:
            raise BadDataError(f"{function.name} has no pointer map")
        header = self._trees.read(address, _STACKMAP_HEADER_BYTES)
        count, width = (int.from_bytes(header[at : at + 4], "little", signed=True) for at in (0, 4))
        if width == 0 and count > 0:
            return np.zeros(0, np.uint8)
        if not 0 <= index < count or not 0 < width <= _MAX_WORDS:
            raise BadDataError(f"implausible pointer map of {function.name}")
        row = (width + 7) // 8
        raw = self._trees.read(address + _STACKMAP_HEADER_BYTES + index * row, row)
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[:width]
        return bits.astype(np.uint8)

    def _objects(self, function: Function) -> tuple[StackObject, ...]:
        """The stack objects of `function`, counted from varp if negative, else from argp."""
        if function.index not in self._objects_of:
            self._objects_of[function.index] = tuple(self._read_objects(function))
        return self._objects_of[function.index]

    def _read_objects(self, function: Function) -> list[StackObject]:
        number = _OBJECTS[self._trees.indices(self._functions).funcdata]
        address = self._trees.funcdata(self._functions, function, number)
        if address is None:
            return []
        count = int.from_bytes(self._trees.read(address, 8), "little")
        if count == 0:
            return []
        if count > _MAX_OBJECTS:
            raise BadDataError(f"implausible number of stack objects of {function.name}")
        address += 8
        first = np.frombuffer(self._trees.read(address, 16), "<i4")
        if first[1] in (0, -1):
            return self._typed_objects(address, count)
        # Offset, size, and how many bytes of it may be pointers, negated if a program tells which. The
        # fourth number leads to a mask: 4 bytes since Go 1.18, an aligned pointer in 1.17.
        stride = 4 if self._functions.relative else 6
        raw = np.frombuffer(self._trees.read(address, 4 * stride * count), "<i4")
        return [_object(*row) for row in raw.reshape(count, stride)[:, [0, 2]].astype(int).tolist()]

    def _typed_objects(self, address: int, count: int) -> list[StackObject]:
        """Up to Go 1.16: an offset of 8 bytes, and a type, whose second word is the bytes that may be
        pointers (``runtime/type.go: _type.ptrdata``)."""
        raw = np.frombuffer(self._trees.read(address, 16 * count), "<i8").reshape(count, 2)
        found = []
        for offset, kind in raw.tolist():
            if kind <= 0:
                raise BadDataError(f"implausible type of a stack object at {kind:#x}")
            size = int.from_bytes(self._trees.read(kind + 8, 8), "little")
            found.append(_object(offset, size))
        return found


def _object(offset: int, pointer_bytes: int) -> StackObject:
    words = abs(pointer_bytes) // _WORD_BYTES
    if offset % _WORD_BYTES or words > _MAX_WORDS or abs(offset) > _WORD_BYTES * _MAX_WORDS:
        raise BadDataError(f"implausible stack object at {offset:#x}")
    return StackObject(offset // _WORD_BYTES, words)
