"""Descriptors, shapes and candidates of objects, of memory made by hand, some of it hostile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.errors import BadDataError
from spyglass.runtime.heap.allocated import allocated_counts, allocated_objects
from spyglass.runtime.heap.classes import CLASS_SIZES
from spyglass.runtime.heap.descriptors import _TYPE, Descriptors
from spyglass.runtime.heap.shapes import Candidates, bitmap_offset, counted, masks_of
from spyglass.runtime.heap.spans import Spans
from tests.image import ImageMemory

BASE, TYPES, MASKS, BITS = 0xC000000000, 0x500000, 0x700000, 0x800000
MODULE = np.dtype([("types", "<u8"), ("etypes", "<u8")])


def spans_of(size: int, count: int, number: int = 1, free_index: int = 0) -> Spans:
    """So many spans of a page, one after the other, with `count` objects of `size` bytes, whose bits are at `BITS`."""
    start = BASE + 8192 * np.arange(number)

    def column(value: object, kind: type) -> NDArray[Any]:
        return np.full(number, value, kind)

    return Spans(
        start.astype(np.uint64), column(1, np.int64), column(size, np.int64), column(count, np.int64),
        column(True, np.bool_), column(0, np.uint64), column(False, np.bool_), column(free_index, np.int64),
        column(count, np.int64), BITS + 256 * np.arange(number).astype(np.uint64), column(0, np.uint64), column(0, np.int64),
    )  # fmt: skip


def described(*types: tuple[int, int]) -> tuple[ImageMemory, NDArray[np.void]]:
    """Memory with descriptors of types (bytes, mask), and the module that they are of."""
    region = np.zeros(8 + 64 * len(types) + 64, np.uint8)
    masks = np.zeros(16 * len(types) + 16, np.uint8)
    for at, (size, mask) in enumerate(types):
        row = np.zeros(1, _TYPE)
        row["size"], row["pointer_bytes"] = size, 8 * mask.bit_length()
        row["align"] = row["field_align"] = 8
        row["kind"], row["mask"], row["name"] = 25, MASKS + 16 * at + 3, len(region) - 32
        region[8 + 64 * at :][: row.nbytes] = row.view(np.uint8)
        masks[16 * at + 3 :][:8] = np.array([mask], np.uint64).view(np.uint8)
    region[-32:-27] = np.frombuffer(b"\0\3abc", np.uint8)
    memory = ImageMemory({TYPES: region.tobytes(), MASKS: masks.tobytes()})
    return memory, np.array([(TYPES, TYPES + len(region))], MODULE)


def test_descriptors_are_found_with_their_masks() -> None:
    types = [(40, 0b10011), (512, 1 << 63 | 1), (8, 1), (16, 0b10), (24, 0b1)]
    found = Descriptors.read(*described(*types))
    assert found.size.tolist() == [size for size, _ in types]
    assert found.mask.tolist() == [mask for _, mask in types]
    assert found.address.tolist() == [TYPES + 8 + 64 * at for at in range(len(types))]
    assert found.find(np.array([TYPES + 72, TYPES, 0], np.uint64)).tolist() == [1, -1, -1]


def test_what_cannot_be_a_descriptor_is_none() -> None:
    memory, module = described((40, 0b10011), (40, 0b10011), (40, 0b10011), (40, 0b10011))
    region = np.frombuffer(memory.segments[TYPES], np.uint8).copy()
    rows = [region[8 + 64 * at :][: _TYPE.itemsize].view(_TYPE) for at in range(4)]
    rows[0]["pointer_bytes"] = 48  # more than the type has
    rows[1]["name"] = 1 << 31
    rows[2]["mask"] = 0x123450000  # nothing is there
    rows[3]["align"] = 3
    memory.place(TYPES, region)
    assert len(Descriptors.read(memory, module)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_not_taken_for_descriptors(seed: int) -> None:
    chance = np.random.default_rng(seed)
    noise = chance.integers(0, 256, 1 << 16).astype(np.uint8)
    noise[chance.random(len(noise)) < 0.7] = 0
    memory = ImageMemory({TYPES: noise.tobytes()})
    found = Descriptors.read(memory, np.array([(TYPES, TYPES + len(noise))], MODULE))
    assert ((found.pointer_bytes == 0) | (found.size > 512)).all()


@pytest.mark.parametrize(
    "bounds", [(TYPES, TYPES + (1 << 40)), (TYPES, TYPES), (TYPES + 1, TYPES + 99)]
)
def test_a_hostile_range_of_descriptors_is_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(BadDataError, match="implausible range"):
        Descriptors.read(ImageMemory({}), np.array([bounds], MODULE))


def plain_candidates(
    types: list[tuple[int, int]], object_bytes: int, mask: int
) -> set[tuple[int, int]]:
    found = set()
    for row, (size, own) in enumerate(types):
        for values in range(1, 512 // size + 1):
            whole = sum(own << at * size // 8 for at in range(values))
            needed = next(each for each in CLASS_SIZES if each >= values * size)
            if (needed, whole) == (object_bytes, mask):
                found.add((row, values))
    return found


def test_candidates_are_all_types_of_a_shape() -> None:
    chance = np.random.default_rng(7)
    types = [(8, 1), (16, 0b10), (16, 0b01), (48, 0b010101)]
    types.extend(
        (8 * words, int(chance.integers(1, 1 << min(words, 6))))
        for words in chance.integers(1, 64, 60).tolist()
    )
    descriptors = Descriptors.read(*described(*types))
    candidates = Candidates.of(descriptors)
    assert len(descriptors) == len(types)
    for size, own in types:
        for values in {1, 2, 512 // size} - {0}:
            if values * size > 512:
                continue
            mask = sum(own << at * size // 8 for at in range(values))
            object_bytes = next(each for each in CLASS_SIZES if each >= values * size)
            found = {
                (row, many)
                for rows, many in candidates.find(object_bytes, mask)
                for row in rows.tolist()
            }
            assert found == plain_candidates(types, object_bytes, mask)
    assert candidates.find(512, (1 << 64) - 2) == []


@pytest.mark.parametrize("size", [8, 16, 24, 48, 176, 512])
@pytest.mark.parametrize("offset", [0, 128])
def test_masks_are_the_bits_of_each_object(size: int, offset: int) -> None:
    count = (8192 - 256) // size
    bits = np.random.default_rng(size).integers(0, 2, (2, 1024)).astype(np.uint8)
    behind = 128 + (offset if size >= 16 else 0)
    memory = ImageMemory({})
    for span in range(2):
        memory.place(BASE + 8192 * (span + 1) - behind, np.packbits(bits[span], bitorder="little"))
    found = masks_of(memory, spans_of(size, count, 2), offset)
    words = size // 8
    for span in range(2):
        for index in range(count):
            own = bits[span, index * words : (index + 1) * words].tolist()
            assert int(found[span, index]) == sum(bit << at for at, bit in enumerate(own))
    values, objects = counted(found.reshape(-1), words)
    expected = {
        value: found.reshape(-1).tolist().count(value) for value in found.reshape(-1).tolist()
    }
    assert dict(zip(values.tolist(), objects.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((504, 336), 0), ((496, 330), 128), ((512, 341), None), ((504, 330), None)],
)
def test_the_place_of_bitmaps_follows_from_the_counts(
    counts: tuple[int, int], expected: int | None
) -> None:
    spans = spans_of(16, 0, 2)
    spans.object_bytes[:], spans.count[:] = [16, 24], counts
    assert bitmap_offset(spans) == expected


def test_allocated_objects_are_told_by_index_and_bits() -> None:
    spans = spans_of(64, 100, 3, free_index=10)
    spans.free_index[2] = 100
    memory = ImageMemory({})
    memory.place(BITS, np.array([1 << 5 | 1 << 40, 0b1], np.uint64))
    found = allocated_objects(memory, spans)
    assert np.flatnonzero(found[0]).tolist() == [*range(10), 40, 64]
    assert found[1].sum() == 10  # its bits cannot be read
    assert found[2].all()
    assert allocated_counts(memory, spans).tolist() == [12, 10, 100]
    spans.alloc_count[:] = 3  # swept, and not allocated from: counted by the runtime
    assert allocated_counts(memory, spans).tolist() == [3, 3, 3]


def test_a_hostile_count_is_bounded_by_the_objects_of_a_span() -> None:
    spans = spans_of(64, 100)
    spans.alloc_count[:], spans.free_index[:] = 65535, 100
    assert allocated_counts(ImageMemory({}), spans).tolist() == [100]
