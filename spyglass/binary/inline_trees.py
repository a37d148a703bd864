"""Which calls were inlined at a pc: trees of ``runtime.inlinedCall``, outside the function table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from spyglass.binary.pclntab import Function, FunctionTable

__all__ = ["InlineIndices", "InlineTrees", "InlinedCall", "InlinedCallLayout"]

#: Functions and trees that are examined to find out which indices a program uses.
_MAX_EXAMINED_FUNCTIONS = 1 << 12
_MAX_EXAMINED_TREES = 1 << 7


class InlineIndices(NamedTuple):
    """The index of the inlining tree among a function's funcdata (``FUNCDATA_InlTree``), and of the
    table that gives the call of a pc among its pcdata (``PCDATA_InlTreeIndex``)."""

    funcdata: int
    pcdata: int


class InlinedCallLayout(NamedTuple):
    """``runtime.inlinedCall``: its size and the offsets of three fields, in bytes."""

    size: int
    func_id: int
    name: int
    parent_pc: int


class InlinedCall(NamedTuple):
    """One inlined call: `name` is an offset into the name table, `parent_pc` an offset from the entry."""

    func_id: int
    name: int
    parent_pc: int


class InlineTrees:
    """The inlining trees, and the other funcdata, of the functions of one table.

    `read` takes (address, size) and gives bytes, or raises `SpyglassError`; `gofunc` is
    ``moduledata.gofunc``, the base of offsets since Go 1.18 (None: not known, no inlined calls are
    found).
    """

    def __init__(self, read: Callable[[int, int], bytes], gofunc: int | None) -> None:
        self.read = read
        self._gofunc = gofunc
        self._indices: InlineIndices | None = None

    def indices(self, table: FunctionTable) -> InlineIndices:
        """The indices that the program of `table` uses.

        One format of the table has had two: Go 1.13 renumbered funcdata and pcdata
        (``runtime/symtab.go: _FUNCDATA_InlTree, _PCDATA_InlTreeIndex``) and kept the magic number. The
        trees themselves tell: read with the other indices they hold no function names.
        """
        if self._indices is None:
            possible = table.format.inline_indices
            one = len(possible) == 1
            best = possible[0] if one else max(possible, key=lambda each: self._score(table, each))
            self._indices = best
        return self._indices

    def _score(self, table: FunctionTable, indices: InlineIndices) -> float:
        """Which part of some trees, found with `indices`, begin with a call that can be one."""
        good = examined = 0
        step = max(len(table) // _MAX_EXAMINED_FUNCTIONS, 1)
        for number in range(0, len(table), step):
            fits = self._begins_with_a_call(table, number, indices)
            examined += fits is not None
            good += fits is True
            if examined == _MAX_EXAMINED_TREES:
                break
        return good / examined if examined else 0.0

    def _begins_with_a_call(
        self, table: FunctionTable, number: int, indices: InlineIndices
    ) -> bool | None:
        """Whether what `indices` lead to in function `number` begins as a tree does; None: nothing."""
        try:
            function = table.function(number)
            tree = self.funcdata(table, function, indices.funcdata)
            if tree is None:
                return None
            call = self.call(table, tree, 0)
        except SpyglassError:
            return False
        return call.parent_pc < function.end - function.entry and table.is_name(call.name)

    def address(self, table: FunctionTable, function: Function) -> int | None:
        """Where the tree of `function` is in the process, None if it has none."""
        return self.funcdata(table, function, self.indices(table).funcdata)

    def funcdata(self, table: FunctionTable, function: Function, index: int) -> int | None:
        """Where funcdata `index` of `function` is in the process, None if it has none."""
        place = table.funcdata(function, index)
        if place is None:
            return None
        where, relative = place
        if not relative:
            return where
        return None if self._gofunc is None else self._gofunc + where

    def call(self, table: FunctionTable, tree: int, index: int) -> InlinedCall:
        """Call number `index` of the tree at address `tree`."""
        layout = table.format.inlined_call
        raw = self.read(tree + index * layout.size, layout.size)
        return InlinedCall(raw[layout.func_id], _u32(raw, layout.name), _u32(raw, layout.parent_pc))


def _u32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")
