"""The entries of a map of any type.

Knowledge: ``internal/runtime/maps`` (``Map``, ``table``, ``groupReference``) of Go 1.24 and later, ``runtime/map.go``
(``hmap``, ``bmap``, ``evacuate``) before. How keys and values lie in a group or a bucket says the type that the
compiler made for it (cmd/compile/internal/reflectdata: ``SwissMapGroupType``, ``MapBucketType``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from spyglass.binary.value_types import Field, ValueType
from spyglass.errors import BadDataError

__all__ = ["Entries", "map_entries"]

#: ``maps.Map``: used, seed, directory, its length. ``maps.table``: used, capacity, (two bytes), depth, index, groups, mask.
_MAP, _TABLE = Struct("<QQQq"), Struct("<HHHBxqQQ")
#: ``hmap``: count, flags, B, overflows, seed, buckets, old buckets.
_HMAP = Struct("<qBBHIQQ")
_SLOTS = 8
#: ``ctrlEmpty``, ``ctrlDeleted``: a slot whose control byte has this bit is not used.
_FREE = 0x80
#: ``minTopHash``: below it a cell is empty, or was moved to the new buckets.
_MIN_TOP_HASH = 5
#: ``sameSizeGrow``: there are as many old buckets as new ones, not half as many.
_SAME_SIZE_GROW = 8
#: What is looked through of one map: groups or buckets, and those that overflow from one bucket.
_MAX_GROUPS, _MAX_CHAIN, _MAX_BITS, _MAX_DIRECTORY = 4096, 64, 40, 1 << 16
_MAX_GROUP_BYTES = 1 << 16

Read = Callable[[int, int], bytes]


class _Slot(NamedTuple):
    """Where the keys and values of a group lie: offsets of the first, and from one to the next."""

    key: int
    key_step: int
    element: int
    element_step: int
    indirect_key: bool
    indirect_element: bool


@dataclass(frozen=True, slots=True)
class Entries:
    """The addresses of key and value of some entries of a map. `length`: how many it has; `is_whole`: those are all."""

    length: int
    places: tuple[tuple[int, int], ...]
    is_whole: bool


def map_entries(read: Read, kind: ValueType, address: int, most: int) -> Entries:
    """The entries of the map at `address`, which is no nil, at most `most`. Raises `MemoryFault`, and `BadDataError` if it
    is none."""
    if kind.storage is None:
        raise BadDataError("how this map is kept is not known")
    storage = kind.storage()
    if not 0 < storage.size <= _MAX_GROUP_BYTES:
        raise BadDataError("implausible size of a group of a map")
    fields = {each.name: each for each in storage.fields()} if storage.fields else {}
    slot = _slot(kind, fields)
    if "ctrl" in fields:
        length, groups = _groups(read, address, storage.size)
        tops = 0
    else:
        length, groups = _buckets(read, address, storage.size)
        tops = _MIN_TOP_HASH
    found: list[tuple[int, int]] = []
    for number, group in enumerate(groups):
        if number >= _MAX_GROUPS or len(found) > most:
            break
        for cell, control in enumerate(read(group, _SLOTS)):
            if control >= tops if tops else not control & _FREE:
                found.append(_place(read, slot, group, cell))
    return Entries(length, tuple(found[:most]), len(found) == length and length <= most)


def _place(read: Read, slot: _Slot, group: int, cell: int) -> tuple[int, int]:
    key = group + slot.key + cell * slot.key_step
    element = group + slot.element + cell * slot.element_step
    return (
        _word(read, key) if slot.indirect_key else key,
        _word(read, element) if slot.indirect_element else element,
    )


def _word(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 8), "little")


def _slot(kind: ValueType, fields: dict[str, Field]) -> _Slot:
    """Where keys and values are in a group: in slots of both, or in two arrays."""
    try:
        if "slots" in fields:
            pair = _element_of(fields["slots"].type())
            inner = {each.name: each for each in pair.fields()} if pair.fields else {}
            key, element = inner["key"], inner["elem"]
            begin, step = fields["slots"].offset, pair.size
            kinds = key.type(), element.type()
            places = (begin + key.offset, step, begin + element.offset, step)
        else:
            key, element = fields["keys"], fields["elems"]
            kinds = _element_of(key.type()), _element_of(element.type())
            places = (key.offset, kinds[0].size, element.offset, kinds[1].size)
    except KeyError:
        raise BadDataError("how this map is kept is not known") from None
    wanted = kind.key, kind.element
    indirect = [
        each is not None and stored.origin != each().origin
        for stored, each in zip(kinds, wanted, strict=True)
    ]
    return _Slot(*places, *indirect)


def _element_of(array: ValueType) -> ValueType:
    if array.element is None:
        raise BadDataError("how this map is kept is not known")
    return array.element()


def _groups(read: Read, address: int, size: int) -> tuple[int, Iterator[int]]:
    """The length of a map of Go 1.24 or later, and the addresses of its groups."""
    used, _, directory, length = _MAP.unpack(read(address, _MAP.size))
    if not 0 <= length <= _MAX_DIRECTORY:
        raise BadDataError("implausible directory of a map")
    return used, _tables(read, directory, length, size)


def _tables(read: Read, directory: int, length: int, size: int) -> Iterator[int]:
    if not length:
        yield from [directory] if directory else []
        return
    before = 0
    for number in range(length):
        table = _word(read, directory + 8 * number)
        if table != before:  # several neighbours may be one table
            *_, groups, mask = _TABLE.unpack(read(table, _TABLE.size))
            yield from (groups + size * each for each in range(min(mask + 1, _MAX_GROUPS)))
        before = table


def _buckets(read: Read, address: int, size: int) -> tuple[int, Iterator[int]]:
    """The length of a map of Go 1.23 or before, and the addresses of its buckets."""
    count, flags, bits, _, _, buckets, old = _HMAP.unpack(read(address, _HMAP.size))
    if count < 0 or bits > _MAX_BITS:
        raise BadDataError("implausible numbers of a map")
    old_bits = bits if flags & _SAME_SIZE_GROW else max(bits - 1, 0)
    return count, _chains(read, [(buckets, bits), (old, old_bits)], size)


def _chains(read: Read, arrays: list[tuple[int, int]], size: int) -> Iterator[int]:
    for begin, bits in arrays:
        for number in range(min(1 << bits, _MAX_GROUPS) if begin else 0):
            bucket = begin + size * number
            for _ in range(_MAX_CHAIN):
                yield bucket
                bucket = _word(read, bucket + size - 8)
                if not bucket:
                    break
