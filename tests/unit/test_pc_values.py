"""Values by program counter are those that the table was written with, also where it is asked again and again."""

from __future__ import annotations

import random

import pytest

from spyglass.binary.pc_values import PcValues
from spyglass.errors import BadDataError
from tests.pclntab_writer import pc_table

BEFORE = b"\x12" * 7


def made(seed: int, entries: int, quantum: int) -> tuple[bytes, list[int]]:
    """A table, and the value for each step of the program counter."""
    drawn = random.Random(seed)
    steps, expected, last = [], [], -1
    for _ in range(entries):
        size = drawn.choice([1, 1, 2, 3, 40, 200])
        # Two neighbours are never equal: that would be the end.
        value = last + drawn.choice([-70_000, -64, -1, 1, 2, 63, 64, 5_000_000])
        steps.append((size * quantum, value))
        expected += [value] * size
        last = value
    return pc_table(steps, quantum), expected


def values_of(raw: bytes, quantum: int = 1) -> PcValues:
    return PcValues(memoryview(BEFORE + raw), len(BEFORE) - 1, quantum)


def answer(values: PcValues, distance: int) -> int | str | None:
    try:
        return values.at(1, distance)
    except BadDataError as error:
        return error.message


@pytest.mark.parametrize("quantum", [1, 4])
@pytest.mark.parametrize("entries", [1, 2, 300, 30_000])
def test_values_are_those_that_were_written(entries: int, quantum: int) -> None:
    raw, expected = made(entries, entries, quantum)
    values = values_of(raw + b"\x02\x08\0", quantum)
    drawn = random.Random(1)
    asked = [*range(min(len(expected), 500)), *(drawn.randrange(len(expected)) for _ in range(500))]
    for at in [*asked, len(expected) - 1]:
        assert (
            values.at(1, at * quantum) == values.at(1, at * quantum + quantum - 1) == expected[at]
        )
    assert values.at(1, len(expected) * quantum) is None
    assert not values.is_exhausted


def test_a_long_table_can_be_asked_again_and_again() -> None:
    raw, expected = made(3, 10_000, 1)
    values, drawn = values_of(raw), random.Random(2)
    for at in (drawn.randrange(len(expected)) for _ in range(10_000)):
        assert values.at(1, at) == expected[at]
    assert not values.is_exhausted


@pytest.mark.parametrize("seed", range(20))
def test_damaged_tables_give_the_same_at_the_first_and_at_later_looks(seed: int) -> None:
    drawn = random.Random(seed)
    raw, expected = made(seed, 400, 1)
    damaged = bytearray(raw[: drawn.randrange(len(raw) // 2, len(raw))])
    for _ in range(drawn.randrange(4)):
        damaged[drawn.randrange(len(damaged))] = drawn.choice([0, 0x80, 0xFF, drawn.randrange(256)])
    kept = values_of(bytes(damaged))
    for _ in range(60):
        at = drawn.randrange(len(expected))
        assert answer(kept, at) == answer(values_of(bytes(damaged)), at)
