"""The encoding of protocol buffers, as far as profiles need it (protobuf.dev, "Encoding").

Integers are varints: seven bits a byte, the least significant first, the eighth set in all but the last.
A field begins with its number and its kind; fields with the value 0 are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["number", "packed", "piece", "varint"]

_VARINT, _PIECE = 0, 2
_BYTES = tuple(bytes([value]) for value in range(0x80))


def varint(value: int) -> bytes:
    """The integer `value`, of which 64 bits are kept: a negative one takes ten bytes."""
    if 0 <= value <= 0x7F:
        return _BYTES[value]
    encoded, value = bytearray(), value & 0xFFFFFFFF_FFFFFFFF
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def number(field: int, value: int) -> bytes:
    """Field `field` with the integer `value`; nothing for 0."""
    return varint(field << 3 | _VARINT) + varint(value) if value else b""


def piece(field: int, content: bytes) -> bytes:
    """Field `field` with bytes: a string, a message, or packed numbers."""
    return varint(field << 3 | _PIECE) + varint(len(content)) + content


def packed(values: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
    """The varints of `values` (not negative, below 2**32) one after another, and where each begins;
    one more offset is the end (int64)."""
    most_bytes = max(-(-int(values.max(initial=0)).bit_length() // 7), 1)
    shifts = np.arange(0, 7 * most_bytes, 7, dtype=np.uint32)
    shifted = values.astype(np.uint32)[:, None] >> shifts
    is_used = shifted > 0
    is_used[:, 0] = True
    encoded = (shifted & 0x7F).astype(np.uint8)
    encoded[:, :-1] |= np.left_shift(is_used[:, 1:], 7, dtype=np.uint8)
    ends = np.cumsum(is_used.sum(axis=1))
    return encoded[is_used].tobytes(), np.concatenate([[0], ends]).astype(np.int64)
