"""What unwinding needs to know of a program counter, as rows that numpy can look up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.stacks.symbolizer import FURTHER_IN, Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["ENDS", "INJECTED_CALL", "IN_USERS_CODE", "KNOWN", "NO_SITE", "CallSites"]

#: What a call site is: where the stack ends; one with a frame of the user's code; code whose frame size is known,
#: or is not needed because the stack ends there; what a signal handler made what it interrupted call.
ENDS, IN_USERS_CODE, KNOWN, INJECTED_CALL = 1, 2, 4, 8
#: The number of a site that is none: it has no calls.
NO_SITE = 0
_WORD_BYTES = 8
_ENTRY_BITS = np.uint64(Entry.BITS)
#: `words`: the frame size, 0 if not known. `entry`: how the function was entered. `where`, `call`,
#: `outermost`: as in `Where`, of its calls. `calls` of them, from `first` on, are its frames.
_SITE = np.dtype(
    [
        ("words", "<i8"),
        ("first", "<i8"),
        ("calls", "<i4"),
        ("where", "<i4"),
        ("call", "<i4"),
        ("outermost", "<i4"),
        ("flags", "u1"),
        ("entry", "u1"),
        ("pc", "<u8"),
    ]
)
_FEW_SITES = 1 << 10


class CallSites:
    """The call sites of one program, numbered: a pc, and how the function that was called there was
    entered. `rows`, with room for more, has what is known of each."""

    def __init__(self, code: Symbolizer, text: int) -> None:
        self._code = code
        self._text = text
        self._numbers: dict[int, int] = {}
        self._calls: list[int] = []
        #: The pc of each site.
        self.pcs = [0]
        self._count = 1
        self.rows = np.zeros(_FEW_SITES, _SITE)
        self.rows[NO_SITE]["where"] = -1
        self.rows[NO_SITE]["outermost"] = FURTHER_IN

    def numbers(self, offsets: NDArray[np.uint64], entries: NDArray[np.uint8]) -> NDArray[np.intp]:
        """The numbers of the sites so far from the text, where what was entered so was called.

        New ones are numbered, and so are their frames, in the order in which they are first met.
        """
        keys, which = numbered(offsets << _ENTRY_BITS | entries)
        known = self._numbers
        found = [known.get(key, NO_SITE) for key in keys.tolist()]
        new = [number for number, site in enumerate(found) if site == NO_SITE]
        if new:
            first = np.empty(len(keys), np.intp)
            first[which[::-1]] = np.arange(len(which))[::-1]
            for number in sorted(new, key=first.tolist().__getitem__):
                found[number] = self._add(int(keys[number]))
        return np.array(found, np.intp)[which]

    def calls(self) -> NDArray[np.int32]:
        """The frame numbers of the calls of all sites, the innermost of each first."""
        return np.array(self._calls, np.int32)

    def _add(self, key: int) -> int:
        pc, called = self._text + (key >> Entry.BITS), key & ((1 << Entry.BITS) - 1)
        size, end, calls, entry = self._code.step(pc, called)
        known = end or size >= 0
        calls = calls if known else ()
        where = self._code.where(calls)
        flags = end * ENDS + where.is_users * IN_USERS_CODE + known * KNOWN
        flags += bool(entry & Entry.INJECTED_CALL) * INJECTED_CALL
        number = self._numbers[key] = self._count
        if number == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        words = max(size, 0) // _WORD_BYTES
        found = where.frame, where.call, where.outermost
        self.rows[number] = (words, len(self._calls), len(calls), *found, flags, entry, pc)
        self._calls += calls
        self.pcs.append(pc)
        self._count += 1
        return number
