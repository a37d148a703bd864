"""The type descriptors of a program: sizes of types, and where they hold pointers.

Every type of which the program allocates objects with pointers has one. The lists of them differ from version to version
(``moduledata.typelinks`` has only some up to Go 1.26, and is gone in 1.27), so they are looked for: what can be one at a
multiple of 8 between ``moduledata.types`` and ``etypes`` is taken as one.

Knowledge: ``internal/abi/type.go`` (``Type``, ``TFlag``, ``Kind``), ``runtime/type.go: getGCMask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.binary.gotypes import KIND_MASK
from spyglass.binary.value_types import KINDS
from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = ["Descriptors"]

#: ``abi.Type``, as `spyglass.binary.gotypes.TYPE_HEADER`, for many at once.
_TYPE = np.dtype(
    [
        ("size", "<u8"), ("pointer_bytes", "<u8"), ("hash", "<u4"), ("flags", "u1"), ("align", "u1"),
        ("field_align", "u1"), ("kind", "u1"), ("equal", "<u8"), ("mask", "<u8"), ("name", "<u4"),
        ("pointer_to_this", "<i4"),
    ]
)  # fmt: skip
#: ``KindGCProg`` up to Go 1.23, ``TFlagGCMaskOnDemand`` since 1.24: there is no mask at `mask`, as for huge types only.
_PROGRAM, _ON_DEMAND = 1 << 6, 1 << 4
_MAX_FLAGS = 1 << 6
_MAX_ALIGN = 8
_MAX_BYTES = 1 << 28
_MAX_TYPE_BYTES = 1 << 40
_WORD_BITS = 64
#: The longest type whose places of pointers fit into a word.
_MASKED_BYTES = 8 * _WORD_BITS
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Type descriptors, ascending by address.

    `address`, `size`, `pointer_bytes` (uint64): where it is; the size of the type, and up to where it can hold pointers;
    `kind` (uint8): index of `spyglass.binary.value_types.KINDS`. `mask` (uint64): bit i says that word i is a pointer, for types of at most
    512 bytes, 0 for others.
    """

    address: NDArray[np.uint64]
    size: NDArray[np.uint64]
    pointer_bytes: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    mask: NDArray[np.uint64]

    @classmethod
    def read(cls, memory: Memory, modules: NDArray[Any]) -> Descriptors:
        """Those of `modules` (``moduledata``). Raises `MemoryFault`, and `BadDataError` if there cannot be any."""
        found = [_in_region(memory, int(each["types"]), int(each["etypes"])) for each in modules]
        rows = np.concatenate([rows for rows, _ in found])
        address = np.concatenate([address for _, address in found])
        rows, address = rows[np.argsort(address)], np.sort(address)
        mask, good = _masks(memory, rows)
        rows, address, mask = rows[good], address[good], mask[good]
        return cls(
            address,
            rows["size"],
            rows["pointer_bytes"],
            (rows["kind"] & KIND_MASK).astype(np.uint8),
            mask,
        )

    def __len__(self) -> int:
        return len(self.address)

    def find(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of the descriptor at each of `addresses`, -1 where there is none."""
        if not len(self):
            return np.full(len(addresses), -1)
        at = np.minimum(np.searchsorted(self.address, addresses), len(self) - 1)
        return np.where(self.address[at] == addresses, at, -1)


def _in_region(memory: Memory, begin: int, end: int) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """What can be a descriptor from `begin` to `end`, and the addresses."""
    if begin % 8 or not 0 < end - begin <= _MAX_BYTES:
        raise BadDataError(f"implausible range of type descriptors, {begin:#x} to {end:#x}")
    data = memory.array(begin, np.uint8, end - begin)
    words = data[: len(data) & ~7].view("<u8")
    lanes = _TYPE.itemsize // 8
    found, places = [np.zeros(0, _TYPE)], [np.zeros(0, np.uint64)]
    for first in range(0, max(len(words) - lanes + 1, 0), _PIECE):
        piece = words[first : first + _PIECE + lanes - 1]
        at = np.flatnonzero(_plausible(piece, lanes)) + first
        rows = np.ascontiguousarray(words[at[:, None] + np.arange(lanes)]).view(_TYPE).reshape(-1)
        good = _named(data, rows)
        found.append(rows[good])
        places.append(at[good].astype(np.uint64) * np.uint64(8) + np.uint64(begin))
    return np.concatenate(found), np.concatenate(places)


def _plausible(words: NDArray[np.uint64], lanes: int) -> NDArray[np.bool_]:
    """At which of `words` a ``Type`` can begin, by its numbers."""
    count = len(words) - lanes + 1
    size, pointer_bytes, marks = words[:count], words[1 : count + 1], words[2 : count + 2]
    flags, align = marks >> np.uint64(32) & np.uint64(255), marks >> np.uint64(40) & np.uint64(255)
    field_align, kind = marks >> np.uint64(48) & np.uint64(255), marks >> np.uint64(56)
    good: NDArray[np.bool_] = (
        (pointer_bytes <= size) & (size < _MAX_TYPE_BYTES) & (pointer_bytes % np.uint64(8) == 0)
    )
    good &= (flags < _MAX_FLAGS) & (align == field_align) & (align > 0) & (align <= _MAX_ALIGN)
    good &= (align & (align - np.uint64(1)) == 0) & (size % np.maximum(align, np.uint64(1)) == 0)
    kind &= np.uint64(KIND_MASK)
    good &= (kind > 0) & (kind < len(KINDS)) & ((pointer_bytes == 0) | (align == _MAX_ALIGN))
    good &= (words[4 : count + 4] != 0) | (pointer_bytes == 0)
    return good


def _named(data: NDArray[np.uint8], rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Of which of `rows` the name can be one: its length is not 0, and it is within `data`."""
    name = rows["name"].astype(np.int64)
    inside = (name > 0) & (name + 4 < len(data))
    flags, length = data[np.where(inside, name, 0)], data[np.where(inside, name + 1, 0)]
    return inside & (flags < 1 << 4) & (length > 0)


def _masks(memory: Memory, rows: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The masks of `rows`, and which rows can have theirs: it has the last bit that it must have."""
    small = (rows["size"] <= _MASKED_BYTES) & (rows["pointer_bytes"] > 0)
    described = ((rows["kind"] & _PROGRAM) == 0) & ((rows["flags"] & _ON_DEMAND) == 0)
    mask = np.zeros(len(rows), np.uint64)
    at = np.flatnonzero(small & described)
    bits = rows["pointer_bytes"][at] >> np.uint64(3)
    skip = rows["mask"][at] & np.uint64(7)
    sizes = (skip + (bits + np.uint64(7) >> np.uint64(3)) + np.uint64(7)) & ~np.uint64(7)
    gathered = memory.gather(rows["mask"][at] - skip, sizes)
    words = gathered.words(2)
    shift = skip * np.uint64(8)
    low, high = words[:, 0] >> shift, words[:, 1] << (np.uint64(_WORD_BITS) - shift & np.uint64(63))
    value = np.where((skip > 0) & (sizes > 8), low | high, low)
    value &= ~np.uint64(0) >> (np.uint64(_WORD_BITS) - bits)
    last = value >> (bits - np.uint64(1)) & np.uint64(1) == 1
    mask[at[gathered.ok]] = value[gathered.ok]
    good = ~small
    good[at] = gathered.ok & last
    return mask, good
