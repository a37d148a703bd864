"""Spans, references and marks of heaps made by hand: compared with a plain mark, and made to harm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.errors import BadDataError
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import candidate_layouts
from spyglass.runtime.heap.marking import Marking
from spyglass.runtime.heap.references import References, read_references
from spyglass.runtime.heap.spans import ObjectNumbers, Spans
from tests.image import ImageMemory
from tests.support import NEWEST

BASE = 0xC000000000
MHEAP, LIST, MSPANS = 0x600000, 0x700000, 0x800000


def heap(*shapes: tuple[int, int, int]) -> Spans:
    """Spans one after the other: (pages, bytes of an object, whether these hold pointers)."""
    pages, sizes, pointers = (np.array(column) for column in zip(*shapes, strict=True))
    start = BASE + 8192 * (np.cumsum(pages) - pages)
    return Spans(
        start.astype(np.uint64), pages.astype(np.int64), sizes.astype(np.int64),
        (pages * 8192 // sizes).astype(np.int64), pointers.astype(np.bool_),
        np.zeros(len(pages), np.uint64), np.zeros(len(pages), np.bool_), np.zeros(len(pages), np.int64),
        np.zeros(len(pages), np.int64), np.zeros(len(pages), np.uint64), np.zeros(len(pages), np.uint64), np.zeros(len(pages), np.int64),
    )  # fmt: skip


def references(targets: list[list[int]]) -> References:
    offsets = np.cumsum([0, *map(len, targets)]).astype(np.uint32)
    flat = np.array([each for row in targets for each in row], np.uint32)
    return References(offsets, flat, 0, True)


def plain_mark(targets: list[list[int]], begin: list[int]) -> set[int]:
    found, work = set(begin), list(begin)
    while work:
        for target in targets[work.pop()]:
            if target not in found:
                found.add(target)
                work.append(target)
    return found


@pytest.mark.parametrize(("count", "degree"), [(50, 1), (3000, 1), (3000, 2), (2000, 900)])
def test_marks_are_those_of_a_plain_mark(count: int, degree: int) -> None:
    chance = np.random.default_rng(count + degree)
    for _ in range(5):
        targets = [
            chance.integers(0, count, chance.integers(0, degree + 1)).tolist() for _ in range(count)
        ]
        begin = chance.integers(0, count, 3).tolist()
        watched = np.arange(0, count, 7, dtype=np.uint32)
        marking = Marking(references(targets), watched)
        seen = marking.mark(np.array(begin, np.uint32))
        expected = plain_mark(targets, begin)
        every = np.arange(count, dtype=np.uint32)
        assert set(np.flatnonzero(marking.is_marked(every)).tolist()) == expected
        assert sorted(seen.tolist()) == sorted(expected & set(watched.tolist()))
        assert len(marking.mark(np.array(begin, np.uint32))) == 0


def test_addresses_are_in_the_objects_of_their_spans() -> None:
    spans = heap((1, 48, 1), (4, 32768, 1), (2, 16, 0), (1, 8192, 1), (5, 10240, 1))
    numbers = ObjectNumbers(spans)
    chance = np.random.default_rng(1)
    words = BASE + chance.integers(-100, 13 * 8192 + 100, 5000)
    at, objects = numbers.find(words.astype(np.uint64))
    inside = (words >= BASE) & (words < BASE + 13 * 8192)
    assert at.tolist() == np.flatnonzero(inside).tolist()
    place = spans.find(words[at].astype(np.uint64))
    index = (words[at] - spans.start[place].astype(np.int64)) // spans.object_bytes[place]
    assert objects.tolist() == (numbers.first[place] + index).tolist()
    assert (objects < len(numbers)).all()


def filled(spans: Spans, words: dict[int, int]) -> ImageMemory:
    size = int(spans.end[-1]) - BASE
    raw = np.zeros(size // 8, np.uint64)
    for address, word in words.items():
        raw[(address - BASE) // 8] = word
    return ImageMemory({BASE: raw.tobytes()})


@pytest.fixture
def spans() -> Spans:
    return heap((1, 64, 1), (1, 64, 1), (1, 64, 0), (300, 300 * 8192, 1))


def targets_of(found: References, number: int) -> list[int]:
    begin, end = found.offsets[number : number + 2]
    return [int(target) for target in found.targets[begin:end]]


def test_references_are_of_the_object_that_holds_the_word(spans: Spans) -> None:
    numbers = ObjectNumbers(spans)
    second, third, large = (int(numbers.first[row]) for row in (1, 2, 3))
    end = int(spans.start[3]) + 299 * 8192
    words = {BASE + 64 * 5 + 8: BASE + 8192 + 70, BASE + 8192: end, end + 16: BASE + 3}
    words[BASE + 2 * 8192] = BASE  # in a span without pointers
    words[BASE + 24] = BASE + 2 * 8192 + 64
    found = read_references(filled(spans, words), numbers, np.zeros(0, np.uint64), 1 << 30)
    assert found.complete
    assert found.read_bytes == 302 * 8192
    assert targets_of(found, 5) == [second + 1]
    assert targets_of(found, 0) == [third + 1]
    assert targets_of(found, second) == [large]
    assert targets_of(found, large) == [0]
    assert len(found.targets) == 4


def test_objects_may_lie_across_the_pieces_that_are_read() -> None:
    spans = heap((300, 24576, 1))
    numbers = ObjectNumbers(spans)
    words = {BASE + 24576 * number: BASE + 24576 * (99 - number) for number in range(100)}
    found = read_references(filled(spans, words), numbers, np.zeros(0, np.uint64), 1 << 30)
    assert [targets_of(found, number) for number in range(100)] == [[99 - n] for n in range(100)]


def test_hidden_words_refer_to_nothing(spans: Spans) -> None:
    numbers = ObjectNumbers(spans)
    words = {BASE + 8: BASE + 64, BASE + 16: BASE + 128, BASE + 8192: BASE}
    hidden = np.array([BASE + 8, BASE + 8192], np.uint64)
    found = read_references(filled(spans, words), numbers, hidden, 1 << 30)
    assert found.targets.tolist() == [2]


def test_what_is_beyond_the_limit_or_cannot_be_read_is_not_complete(spans: Spans) -> None:
    numbers, none = ObjectNumbers(spans), np.zeros(0, np.uint64)
    found = read_references(filled(spans, {BASE: BASE}), numbers, none, 100_000)
    assert not found.complete
    assert found.targets.tolist() == [0]
    memory = ImageMemory({BASE: bytes(8192)})
    assert not read_references(memory, numbers, none, 1 << 30).complete


def runtime_with(raw: NDArray[np.void] | bytes, length: int, pointer: int = LIST) -> Runtime:
    """A program whose heap has `length` spans, the first of which is described by `raw`."""
    layouts = next(iter(candidate_layouts(f"go{NEWEST}.0", "amd64", None, None, None)))
    mheap = np.zeros(1, layouts["mheap"])
    mheap["allspans"] = [[pointer, length, length]]
    size = layouts["mspan"].itemsize
    addresses = MSPANS + size * np.arange(min(length, 1000), dtype=np.uint64)
    raw = raw if isinstance(raw, bytes) else raw.tobytes()
    memory = ImageMemory({MHEAP: mheap.tobytes(), LIST: addresses.tobytes(), MSPANS: raw})
    return Runtime(memory, layouts, {"mheap_": MHEAP}, None, "amd64", f"go{NEWEST}")  # type: ignore[arg-type]


def test_spans_that_cannot_be_are_left_out() -> None:
    layouts = next(iter(candidate_layouts(f"go{NEWEST}.0", "amd64", None, None, None)))
    rows = np.zeros(9, layouts["mspan"])
    rows["state"], rows["npages"], rows["elemsize"], rows["nelems"] = 1, 1, 64, 128
    rows["startAddr"] = BASE + 8192 * np.arange(9)
    rows["state"][1] = 2  # a stack
    rows["npages"][2] = 0
    rows["elemsize"][3] = 12
    rows["nelems"][4] = 129
    rows["startAddr"][5] += 1
    rows["npages"][6] = (1 << 52) + 1
    rows["startAddr"][8] = BASE  # as the first
    spans = Spans.read(runtime_with(rows, 9))
    assert spans.start.tolist() == [BASE, BASE + 7 * 8192]
    assert spans.pointers.all()


@pytest.mark.parametrize("length", [0, 1 << 30])
def test_a_heap_of_nonsense_is_none(length: int) -> None:
    with pytest.raises(BadDataError):
        Spans.read(runtime_with(b"", length))
