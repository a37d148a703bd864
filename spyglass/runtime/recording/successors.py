"""Whether the words on a stack tell one goroutine from the next one there.

A goroutine that is begun in the same way as the one before on its stack, and calls the same functions, may have the same
words in the frames of its callers: these prove nothing then. Which do is learned from goroutines that were seen one after
the other on one stack.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Distinctions", "StackEnds"]

#: Bytes at the end of a stack, of so many goroutines, that are kept to see what the next one there has.
_END_BYTES, _MAX_ENDS = 1 << 10, 1 << 12
#: Words that tell goroutines apart are equal in one of so many pairs of them at most: one that has only begun has
#: those of the one before.
_RARELY = 100


class StackEnds:
    """The ends of stacks as they were last seen, by the address of the ``g``."""

    def __init__(self) -> None:
        #: The goid, the end of its stack, and that of the goroutine before on this stack.
        self._last: dict[int, tuple[int, bytes, bytes]] = {}

    def note(self, pointer: int, goid: int, stack: bytes) -> bytes:
        """Note that goroutine `goid` with the ``g`` at `pointer` has a `stack` that ends so; the end of that of the
        goroutine before, empty if none was seen."""
        last_goid, last, other = self._last.get(pointer, (goid, b"", b""))
        if goid != last_goid:
            other = last
        if len(self._last) >= _MAX_ENDS:
            self._last.clear()
        self._last[pointer] = goid, stack[-_END_BYTES:], other
        return other


@dataclass(slots=True)
class _Pairs:
    """How many pairs of goroutines had `equal` words, and `different` ones."""

    equal: int = 0
    different: int = 0


class Distinctions:
    """What was learned of the frames of callers, by their pcs."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[int, ...], _Pairs] = {}

    def tell(self, callers: tuple[int, ...], words: bytes, other: bytes) -> bool:
        """Whether the frames of `callers` tell goroutines apart as far as is known; their `words` and the end of the
        stack of the goroutine before (`other`) add to that."""
        words = words[-_END_BYTES:]
        pairs = self._pairs.get(callers)
        if pairs is None:
            pairs = self._pairs[callers] = _Pairs()
        if count := min(len(words), len(other)):
            differ = words[-count:] != other[-count:]
            pairs.different += differ
            pairs.equal += not differ and count == len(words)
        return pairs.equal * _RARELY <= pairs.different
