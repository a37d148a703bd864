"""Tables of values by program counter, as a function table has for frame sizes, files, lines and pcdata.

Knowledge: ``runtime/symtab.go`` (``pcvalue``, ``step``); ``cmd/internal/obj/pcln.go`` (``funcpctab``) writes them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PcValues"]

#: Steps of one table that are taken to find one value.
_MAX_STEPS = 1 << 17
#: In all tables together, until more are allowed: enough for a hundred thousand places in the code.
_MAX_STEPS_IN_ALL = 1 << 24
#: A table in which so many steps were taken is decoded as a whole: those of initializers have thousands of entries, and are
#: asked again and again. Walks shorter than this are not counted.
_DECODED_FROM, _LEAST_COUNTED = 1 << 9, 1 << 6
_MAX_COUNTED = 1 << 16
_LEAST_DECODED_BYTES, _MAX_DECODED_BYTES = 1 << 11, 1 << 19
#: To decode takes as long as so many steps for each byte.
_STEPS_PER_BYTE = 0.25
#: Of all decoded tables, of 16 bytes each; beyond it they are forgotten.
_MAX_ENTRIES = 1 << 21
_VARINT_BYTES = 5


class _Decoded(NamedTuple):
    """A decoded table: where each value ends, in bytes from the beginning of the function, and the values."""

    ends: array[int]
    values: array[int]


class PcValues:
    """The tables at `base` of `image`; program counters are multiples of `quantum`.

    They come from the process: steps are bounded, see `is_exhausted`.
    """

    def __init__(self, image: memoryview, base: int, quantum: int) -> None:
        self._image = image
        self._base = base
        self._quantum = quantum
        #: How many steps were taken in each table that is not decoded, by offset.
        self._taken: dict[int, int] = {}
        self._decoded: dict[int, _Decoded | None] = {}
        self._entries = 0
        self.allow_steps()

    @property
    def is_exhausted(self) -> bool:
        """Whether the limit of steps was reached: the result of the last lookup is incomplete then."""
        return self._steps_left <= 0

    def allow_steps(self) -> None:
        """Allow as many steps as in the beginning: they are bounded for each look at a process."""
        self._steps_left = _MAX_STEPS_IN_ALL

    def at(self, offset: int, distance: int) -> int | None:
        """The value in the table at `offset`, `distance` bytes from where its function begins; None if there is none.

        Pairs of varints: a zig-zag difference of the value, and a difference of the pc. Raises `BadDataError` if the
        table is cut off.
        """
        known = self._decoded.get(offset)
        if known is not None:
            row = bisect_right(known.ends, distance)
            return known.values[row] if row < len(known.ends) else None
        return self._walk(offset, distance)

    def _walk(self, offset: int, distance: int) -> int | None:
        image, quantum = self._image, self._quantum
        at, value, here = self._base + offset, -1, 0
        limit, step = min(_MAX_STEPS, max(self._steps_left, 0)), 0
        try:
            for step in range(limit):
                # Most are of one byte: a call for each would take as long as all the rest.
                change, at = image[at], at + 1
                if change >= 0x80:
                    change, at = self._varint(at - 1)
                if change == 0 and step > 0:
                    return None
                value += -(change >> 1) - 1 if change & 1 else change >> 1
                advance, at = image[at], at + 1
                if advance >= 0x80:
                    advance, at = self._varint(at - 1)
                here += advance * quantum
                if distance < here:
                    return value
                if advance == 0:
                    return None
        except IndexError:
            raise BadDataError("the function table is cut off") from None
        finally:
            self._count(offset, min(step + 1, limit))
        return None

    def _count(self, offset: int, steps: int) -> None:
        self._steps_left -= steps
        if steps < _LEAST_COUNTED or offset in self._decoded:
            return
        if len(self._taken) > _MAX_COUNTED:
            self._taken.clear()
        taken = self._taken[offset] = self._taken.get(offset, 0) + steps
        if taken >= _DECODED_FROM:
            self._decode(offset)

    def _decode(self, offset: int) -> None:
        """Keep the whole table at `offset`, or that it cannot be kept: it is damaged, or longer than any."""
        if self._entries > _MAX_ENTRIES or len(self._decoded) > _MAX_COUNTED:
            self._decoded.clear()
            self._entries = 0
        at, found, size = self._base + offset, None, _LEAST_DECODED_BYTES
        while found is None and size <= _MAX_DECODED_BYTES and self._steps_left > 0:
            self._steps_left -= int(_STEPS_PER_BYTE * size)
            raw = np.frombuffer(self._image[at : at + size], np.uint8)
            found = _decoded(raw, self._quantum)
            size = size * 8 if len(raw) == size else _MAX_DECODED_BYTES + 1
        if found is None and self.is_exhausted:
            return
        self._decoded[offset] = found
        self._entries += len(found.ends) if found is not None else 0

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        image = self._image
        while shift < 7 * _VARINT_BYTES:
            if at >= len(image):
                raise BadDataError("the function table is cut off")
            byte = image[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFF, at
            shift += 7
        raise BadDataError("the function table holds a number that is too long")


def _decoded(raw: NDArray[np.uint8], quantum: int) -> _Decoded | None:
    """The table that `raw` begins with; None if its end is not in `raw`, or a number is too long."""
    ends = np.flatnonzero(raw < 0x80)
    if not len(ends):
        return None
    begins = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - begins + 1
    bits = (raw[: ends[-1] + 1] & 0x7F).astype(np.uint64)
    shifts = np.minimum(7 * (np.arange(len(bits)) - np.repeat(begins, sizes)), 63)
    numbers = np.add.reduceat(bits << shifts.astype(np.uint64), begins) & np.uint64(0xFFFFFFFF)
    changes, advances = numbers[::2].astype(np.int64), numbers[1::2].astype(np.int64)
    advances = np.append(advances, 0)[: len(changes)]  # the zero at the end of a table is no pair
    stops = np.flatnonzero((changes[1:] == 0) | (advances[:-1] == 0)) + 1
    if not len(stops) or sizes[: 2 * stops[0]].max() > _VARINT_BYTES:
        return None
    count = int(stops[0])
    zigzag = np.where(changes & 1 == 1, -(changes >> 1) - 1, changes >> 1)
    values = np.cumsum(zigzag[:count]) - 1
    ends_at = np.cumsum(advances[:count]) * quantum
    return _Decoded(array("q", ends_at.tobytes()), array("q", values.tobytes()))
