"""Locks that func values release: method values such as ``mu.Unlock``, and function literals. Who is given one may call it,
and nothing tells that on the stack of the function that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.runtime.waiting.frame_words import words_at

if TYPE_CHECKING:
    from spyglass.binary.pclntab import Function
    from spyglass.memory.base import Memory
    from spyglass.runtime.waiting.lock_code import LockCode

__all__ = ["may_hand_on"]

#: Numbers in the code of one function that are looked at; of one with more it is not known.
_MAX_NUMBERS = 1 << 12


def may_hand_on(memory: Memory, code: LockCode, function: Function, mode: int) -> bool:
    """Whether `function`, which was followed, makes func values that release a lock in `mode`, and gives them to what it
    calls, or to a new goroutine; also if that cannot be found out. A func value points to a word that is the function's entry
    (cmd/compile/internal/walk/closure.go); of one without variables the word is in the program."""
    given = np.array(list(code.flow_so_far(function).given), np.uint64)
    if len(given) > _MAX_NUMBERS:
        return True
    possible = distinct(np.concatenate([given, words_at(memory, given)]))
    for entry in possible[code.functions.find(possible) >= 0].tolist():
        releases = code.releases(entry)
        if releases is None or any(each.mode == mode for each in releases):
            return True
    return False
