"""The encoding of protocol buffers, as far as profiles need it, and back (protobuf.dev, "Encoding").

Integers are varints: seven bits a byte, the least significant first, the eighth set in all but the last.
A field begins with its number and its kind; fields with the value 0 are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Message", "number", "packed", "piece", "varint"]

_VARINT, _PIECE = 0, 2
#: Bytes of the kinds with a fixed size, which profiles have none of.
_FIXED_BYTES = {1: 8, 5: 4}
#: A million samples have their own stacks, locations and labels.
_MAX_FIELDS = 1 << 22
#: Of 64 bits.
_MAX_VARINT_BYTES = 10
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


class Message:
    """The fields of one message, decoded from `raw`. `BadDataError` if it is none, or has more than `max_fields`."""

    def __init__(self, raw: bytes, max_fields: int = _MAX_FIELDS) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for count, (field, value) in enumerate(_fields(raw)):
            if count >= max_fields:
                raise BadDataError(f"a message has more than {max_fields:,} fields")
            self._fields.setdefault(field, []).append(value)

    def number(self, field: int) -> int:
        """The integer in `field`, 0 if there is none; of several the last (signed, 64 bits)."""
        found = self.numbers(field)
        return found[-1] if found else 0

    def numbers(self, field: int) -> list[int]:
        """The integers in `field`, packed or not (signed, 64 bits)."""
        found: list[int] = []
        for value in self._fields.get(field, ()):
            found += [value] if isinstance(value, int) else _unpacked(value)
        return found

    def pieces(self, field: int) -> list[bytes]:
        """The strings or messages in `field`."""
        found = self._fields.get(field, [])
        if any(isinstance(value, int) for value in found):
            raise BadDataError(f"field {field} is a number")
        return found  # type: ignore[return-value]


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and the value of each field."""
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        kind = tag & 7
        if not tag >> 3:
            raise BadDataError("a field has the number 0")
        if kind == _VARINT:
            value, at = _read_varint(raw, at)
            yield tag >> 3, _signed(value)
            continue
        size = _FIXED_BYTES.get(kind, 0)
        if kind == _PIECE:
            size, at = _read_varint(raw, at)
        elif not size:
            raise BadDataError(f"a field has the kind {kind}")
        if size > len(raw) - at:
            raise BadDataError("a field is cut off")
        yield tag >> 3, raw[at : at + size]
        at += size


def _unpacked(raw: bytes) -> list[int]:
    """The varints in `raw`."""
    if raw.isascii():  # each is one byte
        return list(raw)
    found, at = [], 0
    while at < len(raw):
        value, at = _read_varint(raw, at)
        found.append(_signed(value))
    return found


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, not negative, and where it ends."""
    value = 0
    for index, byte in enumerate(raw[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & 0xFFFFFFFF_FFFFFFFF, at + index + 1
    raise BadDataError("a number is cut off, or too long")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
