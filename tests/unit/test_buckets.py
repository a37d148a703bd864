"""Buckets of allocation samples out of memory made by hand: right ones, and hostile ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import numpy as np
import pytest

from spyglass.errors import BadDataError
from spyglass.runtime.heap import buckets
from spyglass.runtime.heap.buckets import (
    BLOCK,
    MEMORY,
    MUTEX,
    Buckets,
    kind_of,
    read_buckets,
    read_contentions,
)
from tests.image import ImageMemory

BASE, SIZE = 0x7F0000001000, 1 << 16
WORD = (1 << 64) - 1
#: Where the first bucket is: near the end of a page that only follows memory which cannot be read.
FIRST = BASE + 0xFC0


def go_hash(stack: Sequence[int], size: int) -> int:
    """``stkbucket`` of runtime/mprof.go."""
    h = 0
    for each in (*stack, size):
        h = (h + each) & WORD
        h = (h + (h << 10)) & WORD
        h ^= h >> 6
    h = (h + (h << 3)) & WORD
    return h ^ h >> 11


def bucket(
    stack: Sequence[int], size: int, counts: Sequence[int], then: int, kind: int = MEMORY
) -> bytes:
    """A bucket of 48-byte header, stack, and `counts`: what Go puts behind it."""
    words = (0, then, kind, go_hash(stack, size), size, len(stack), *stack, *counts)
    return struct.pack(f"<{len(words)}Q", *words)


def with_bytes(size: int, *counts: int) -> list[int]:
    """A ``memRecord`` up to Go 1.26, of allocs and frees of each cycle."""
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return [
        word for allocs, frees in pairs for word in (allocs, frees, allocs * size, frees * size)
    ]


def memory_of(*pieces: tuple[int, bytes | bytearray]) -> ImageMemory:
    content = bytearray(SIZE)
    for at, piece in pieces:
        content[at - BASE : at - BASE + len(piece)] = piece
    return ImageMemory({BASE: bytes(content)})


COUNTS = [(9, 4, 0, 0, 3, 1, 2, 0), (1, 1, 0, 0, 0, 0, 7, 0)]
STACKS = [(0x401000, 0x402000, 0x403000), (0x404000,)]


@pytest.mark.parametrize("has_bytes", [True, False], ids=["up to 1.26", "1.27"])
def test_both_forms_are_read(has_bytes: bool) -> None:
    second = FIRST + 0x400
    records = [with_bytes(48, *COUNTS[0]), with_bytes(1024, *COUNTS[1])] if has_bytes else COUNTS
    memory = memory_of(
        (FIRST, bucket(STACKS[0], 48, records[0], second)),
        (second, bucket(STACKS[1], 1024, records[1], 0)),
    )
    found = read_buckets(memory, FIRST)
    assert found.complete
    assert found.rejected == 0
    assert found.stacks.tolist() == [*STACKS[0], *STACKS[1]]
    assert found.offsets.tolist() == [0, 3, 4]
    assert found.size.tolist() == [48, 1024]
    assert found.allocs.tolist() == [list(counts[::2]) for counts in COUNTS]
    assert found.frees.tolist() == [list(counts[1::2]) for counts in COUNTS]


def test_a_stack_may_be_empty() -> None:
    found = read_buckets(memory_of((FIRST, bucket((), 48, with_bytes(48, *COUNTS[0]), 0))), FIRST)
    assert (found.offsets.tolist(), found.rejected) == ([0, 0], 0)


def test_no_samples_are_none() -> None:
    found = read_buckets(memory_of(), 0)
    assert (len(found.size), found.complete, found.rejected) == (0, True, 0)


def test_a_bucket_of_another_stack_is_left_out() -> None:
    second = FIRST + 0x400
    raw = bytearray(bucket(STACKS[0], 48, with_bytes(48, *COUNTS[0]), second))
    raw[48] ^= 1  # of the stack
    memory = memory_of((FIRST, raw), (second, bucket(STACKS[1], 48, with_bytes(48, *COUNTS[1]), 0)))
    found = read_buckets(memory, FIRST)
    assert found.rejected == 1
    assert found.stacks.tolist() == list(STACKS[1])


@pytest.mark.parametrize("then", [FIRST, 8, 0xFFFFFFFFFFFFFFF8, FIRST + 4, BASE + SIZE - 16])
def test_a_list_that_leads_nowhere_ends(then: int) -> None:
    memory = memory_of((FIRST, bucket(STACKS[0], 48, with_bytes(48, *COUNTS[0]), then)))
    found = read_buckets(memory, FIRST)
    assert not found.complete
    assert found.size.tolist() == [48]


@pytest.mark.parametrize("first", [8, FIRST, FIRST + 1, WORD - 7])
def test_what_is_no_bucket_is_an_error(first: int) -> None:
    with pytest.raises(BadDataError):
        read_buckets(memory_of(), first)


@pytest.mark.parametrize(("limit", "value"), [("_MAX_BUCKETS", 5), ("_MAX_WORDS", 5 * 17)])
def test_a_list_without_end_is_cut(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, limit, value)
    monkeypatch.setattr(buckets, "_MAX_PAGES", 1)
    places = [FIRST + 0x100 * number for number in range(9)]
    made = [(at, bucket((at,), 48, with_bytes(48, *COUNTS[0]), at + 0x100)) for at in places]
    found = read_buckets(memory_of(*made), FIRST)
    assert len(found.size) == 5
    assert not found.complete


def test_garbage_is_an_answer_or_our_error() -> None:
    chance = random.Random(5)
    for _ in range(300):
        raw = bytearray(bucket(STACKS[0], 48, with_bytes(48, *COUNTS[0]), FIRST + 0x400))
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        memory = memory_of((FIRST, raw), (FIRST + 0x400, chance.randbytes(4096)))
        try:
            found = read_buckets(memory, FIRST)
        except BadDataError:
            continue
        assert isinstance(found, Buckets)
        assert np.all(np.diff(found.offsets) >= 0)


@pytest.mark.parametrize("is_float", [True, False], ids=["float64", "int64 of Go 1.15"])
def test_waits_are_read(is_float: bool) -> None:
    """A number of events is a float64 since it is scaled up: 7 of them with a rate of 3 may be 7.5."""
    second = FIRST + 0x400
    counts = [struct.unpack("<Q", struct.pack("<d", each))[0] for each in (7.5, 1.0)]
    first, other = ((counts[0], 9000), (counts[1], 0)) if is_float else ((7, 9000), (1, 0))
    memory = memory_of(
        (FIRST, bucket(STACKS[0], 0, first, second, BLOCK)),
        (second, bucket(STACKS[1], 0, other, 0, BLOCK)),
    )
    assert kind_of(memory, FIRST) == BLOCK
    found = read_contentions(memory, FIRST, BLOCK)
    assert (found.complete, found.rejected) == (True, 0)
    assert (found.count.tolist(), found.ticks.tolist()) == ([7, 1], [9000, 0])
    assert found.stacks.tolist() == [*STACKS[0], *STACKS[1]]
    with pytest.raises(BadDataError):
        read_contentions(memory, FIRST, MUTEX)
    assert read_contentions(memory, 0, MUTEX).complete


def test_waits_that_cannot_be_are_left_out() -> None:
    """Another hash, a time below zero, and numbers that are none: infinite, not a number, beyond all."""
    wrong = [(1, WORD), (0x7FF0000000000000, 1), (0x7FF8000000000000, 1), (WORD, 1), (1 << 59, 1)]
    for counts in wrong:
        memory = memory_of((FIRST, bucket(STACKS[0], 0, counts, 0, MUTEX)))
        found = read_contentions(memory, FIRST, MUTEX)
        assert (found.rejected, found.count.tolist(), found.offsets.tolist()) == (1, [], [0]), (
            counts
        )
    torn = bytearray(bucket(STACKS[0], 0, (1, 1), FIRST, MUTEX))
    torn[24] ^= 1
    found = read_contentions(memory_of((FIRST, torn)), FIRST, MUTEX)
    assert (found.rejected, found.complete) == (1, False)
