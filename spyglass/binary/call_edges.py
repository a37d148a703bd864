"""Which functions call which: from the bytes of the code, without decoding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.binary.pclntab import FunctionTable

__all__ = ["CallEdges", "numbers_anywhere"]

#: More code than the largest programs have.
_MAX_TEXT_BYTES = 1 << 28
_PIECE_BYTES = 1 << 22
#: amd64: CALL rel32 and JMP rel32. arm64: BL and B with 26 bits of words.
_CALL = 0xE8  # the jump differs in the last bit
_BRANCH_MASK, _BRANCH = 0x7C000000, 0x14000000


class CallEdges:
    """The direct calls between the functions of a program, also those that it may not have: bytes that look
    like a call are taken for one if they lead to the begin of a function.

    `callers`, `callees` (int64): numbers of functions in the table, a row for each call. `read` gives
    code: (address, size) to bytes.
    """

    def __init__(
        self, functions: FunctionTable, read: Callable[[int, int], bytes], arch: str
    ) -> None:
        self._functions = functions
        find = _arm64 if arch == "arm64" else _amd64
        begin, end = int(functions.entries[0]), int(functions.entries[-1])
        end = min(end, begin + _MAX_TEXT_BYTES)
        callers, callees = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for piece in range(begin, end, _PIECE_BYTES):
            try:
                code = read(piece, min(_PIECE_BYTES + 8, end - piece))
            except SpyglassError:
                continue
            at, target = find(code, piece)
            row = np.minimum(np.searchsorted(functions.entries, target), len(functions) - 1)
            good = functions.entries[row] == target
            callers.append(functions.find(at[good]))
            callees.append(row[good].astype(np.int64))
        self.callers, self.callees = np.concatenate(callers), np.concatenate(callees)

    def callers_of(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """The functions that call one of the functions `wanted`, sorted."""
        mask = np.zeros(len(self._functions) + 1, np.bool_)
        mask[wanted] = True
        return distinct(self.callers[mask[self.callees]])


def _amd64(code: bytes, address: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Where calls and jumps may be, and where they lead to."""
    raw = np.frombuffer(code, np.uint8)
    at = np.flatnonzero((raw & 0xFE) == _CALL)
    at = at[at <= len(raw) - 5]
    distance = numbers_anywhere(code)[at + 1]
    where = at.astype(np.int64) + address
    target = where + 5 + distance
    return where.astype(np.uint64), target.astype(np.uint64)


def numbers_anywhere(code: bytes) -> NDArray[np.int32]:
    """The 4 bytes from each byte of `code` on as a number (a view; shape (n - 3,))."""
    return np.ndarray(max(0, len(code) - 3), "<i4", code, strides=(1,))


def _arm64(code: bytes, address: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    words = np.frombuffer(code, "<u4", len(code) // 4)
    at = np.flatnonzero((words & _BRANCH_MASK) == _BRANCH)
    distance = (words[at].astype(np.int64) << 38) >> 36  # 26 bits with a sign, in words
    where = 4 * at.astype(np.int64) + address
    return where.astype(np.uint64), (where + distance).astype(np.uint64)
