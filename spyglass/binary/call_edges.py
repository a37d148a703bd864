"""Which functions call which: from the bytes of the code, without decoding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import among, distinct
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.binary.pclntab import Function, FunctionTable

__all__ = ["CallEdges", "may_call_pointers", "numbers_anywhere"]

#: More code than the largest programs have; and what stays in the processor's cache while it is searched.
_MAX_TEXT_BYTES = 1 << 28
_PIECE_BYTES = 1 << 18
#: Go's linker begins functions at multiples of 16 bytes or more.
_NEAR_BITS = 4
#: amd64: CALL rel32 and JMP rel32. arm64: BL and B with 26 bits of words.
_CALL = 0xE8  # the jump differs in the last bit
_BRANCH_MASK, _BRANCH = 0x7C000000, 0x14000000
_POINTER_CODE, _OPCODE_BITS, _CALL_POINTER = 0xFF, 0x38, 0x10
_BLR_MASK, _BLR = 0xFFFFFC1F, 0xD63F0000


class CallEdges:
    """The direct calls between the functions of a program, also those that it may not have: bytes that look
    like a call are taken for one if they lead to the begin of a function.

    `read` gives code: (address, size) to bytes.
    """

    def __init__(
        self, functions: FunctionTable, read: Callable[[int, int], bytes], arch: str
    ) -> None:
        self._functions = functions
        find = _arm64 if arch == "arm64" else _amd64
        self._begin, end = int(functions.entries[0]), int(functions.entries[-1])
        self._size = min(max(end - self._begin, 0), _MAX_TEXT_BYTES)
        # From the begin of the text on: where they are, in ascending order, and where they lead to.
        places, targets = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for piece in range(0, self._size, _PIECE_BYTES):
            try:
                code = read(self._begin + piece, min(_PIECE_BYTES + 8, self._size - piece))
            except SpyglassError:
                continue
            at, distance = find(code)
            at += piece
            target = at + distance
            inside = (at < piece + _PIECE_BYTES) & (target >= 0) & (target < self._size)
            places.append(at[inside].astype(np.int32))
            targets.append(target[inside].astype(np.int32))
        self._at, self._target = np.concatenate(places), np.concatenate(targets)

    def callers_of(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """The functions that call one of the functions `wanted`, sorted; all by their numbers in the table."""
        entries = self._functions.entries[wanted] - np.uint64(self._begin)
        entries = entries[entries < self._size].astype(np.int64)
        # Few calls lead near to one of them, which is looked up without a search: a search in a large table takes longer
        # than all else.
        near = np.zeros((self._size >> _NEAR_BITS) + 1, np.bool_)
        near[entries >> _NEAR_BITS] = True
        some = np.flatnonzero(near[self._target >> _NEAR_BITS])
        some = some[among(self._target[some], entries.astype(np.int32))]
        callers = self._functions.find(self._at[some].astype(np.uint64) + np.uint64(self._begin))
        return distinct(callers)

    def called_by(self, function: Function) -> NDArray[np.int64]:
        """The functions that `function` calls, -1 for bytes that lead to none, by their numbers in the table."""
        bounds = np.array([function.entry, function.end], np.int64) - self._begin
        part = slice(*np.searchsorted(self._at, bounds))
        return self._functions.find(self._target[part].astype(np.uint64) + np.uint64(self._begin))


def may_call_pointers(code: bytes, arch: str) -> bool:
    """Whether there may be a call in `code` of an address that is in a register or in memory. amd64: CALL r/m64 (FF /2).
    arm64: BLR."""
    if arch == "arm64":
        words = np.frombuffer(code, "<u4", len(code) // 4)
        return bool(((words & _BLR_MASK) == _BLR).any())
    raw = np.frombuffer(code, np.uint8)
    is_call = (raw[:-1] == _POINTER_CODE) & (raw[1:] & _OPCODE_BITS == _CALL_POINTER)
    return bool(is_call.any())


def _amd64(code: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where calls and jumps may be, and how far from there they lead, in bytes."""
    raw = np.frombuffer(code, np.uint8)
    at = np.flatnonzero((raw & 0xFE) == _CALL)
    at = at[at <= len(raw) - 5]
    return at, numbers_anywhere(code)[at + 1].astype(np.int64) + 5


def numbers_anywhere(code: bytes) -> NDArray[np.int32]:
    """The 4 bytes from each byte of `code` on as a number (a view; shape (n - 3,))."""
    return np.ndarray(max(0, len(code) - 3), "<i4", code, strides=(1,))


def _arm64(code: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    words = np.frombuffer(code, "<u4", len(code) // 4)
    at = np.flatnonzero((words & _BRANCH_MASK) == _BRANCH)
    return 4 * at, (words[at].astype(np.int64) << 38) >> 36  # 26 bits with a sign, in words
