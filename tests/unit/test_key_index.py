"""Keys find the numbers that they were added with, however many there are and wherever their places are."""

from __future__ import annotations

import numpy as np
import pytest

from spyglass.runtime.stacks import key_index
from spyglass.runtime.stacks.key_index import KeyIndex


@pytest.fixture(params=["spread", "one first place"])
def clashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with every key at the same first place, as a target could choose them."""
    if request.param == "one first place":
        factors = key_index._FACTORS.copy()
        factors[0] = 0
        monkeypatch.setattr(key_index, "_FACTORS", factors)


@pytest.mark.usefixtures("clashing")
@pytest.mark.parametrize("room", [2, 3, 1 << 10, 1 << 18])
def test_keys_are_found_with_their_numbers(room: int) -> None:
    noise = np.random.default_rng(room)
    keys = np.unique(noise.integers(0, 1 << 63, 30_000).astype(np.uint64))
    noise.shuffle(keys)
    index, known = KeyIndex(room), 0
    for count in (0, 1, 1, 20, 5000, 20_000):
        first = known + 1
        index.add(keys[known : known + count], first)
        known += count
        numbers, missing = index.find(keys)
        assert numbers[:known].tolist() == list(range(1, known + 1))
        assert missing.tolist() == list(range(known, len(keys)))
        assert not numbers[missing].any()


@pytest.mark.usefixtures("clashing")
def test_a_key_that_is_asked_for_twice_is_found_twice() -> None:
    index = KeyIndex(16)
    index.add(np.array([7, 9, 11], np.uint64), 5)
    numbers, missing = index.find(np.array([9, 8, 9, 7, 8, 11], np.uint64))
    assert numbers.tolist() == [6, 0, 6, 5, 0, 7]
    assert missing.tolist() == [1, 4]


def test_a_table_of_many_keys_is_not_larger_than_it_must_be() -> None:
    index = KeyIndex(1 << 19)
    assert len(index._places) == 1 << 20
    assert len(KeyIndex(1 << 10)._places) == 1 << 16
