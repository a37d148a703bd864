"""Tables: columns of one length."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.model import Goroutines
from spyglass.table import Column, Table, column


@dataclass(init=False, eq=False, repr=False)
class Beads(Table):
    number: NDArray[np.int64] = column(np.int64)
    owner: NDArray[np.int32] = column(np.int32, -1, "people")


def beads(*numbers: int) -> Beads:
    return Beads.of(len(numbers), number=np.array(numbers))


def test_what_is_not_known_has_its_default_and_type() -> None:
    some = beads(3, 1, 2)
    assert (len(some), some.owner.tolist()) == (3, [-1, -1, -1])
    assert some.owner.dtype == np.int32
    assert Beads.columns() == {"number": Column(np.int64), "owner": Column(np.int32, -1, "people")}
    assert [each.name for each in fields(Beads)] == ["number", "owner"]


def test_rows_are_chosen_and_joined() -> None:
    some = beads(3, 1, 2)
    assert some.select(np.array([2, 0])).number.tolist() == [2, 3]
    assert some.select(some.number > 1).number.tolist() == [3, 2]
    assert Beads.joined([some, beads(9)]).number.tolist() == [3, 1, 2, 9]
    assert len(Beads.joined([])) == 0
    assert replace(some, number=some.number + 1).number.tolist() == [4, 2, 3]
    assert pickle.loads(pickle.dumps(some)).number.tolist() == [3, 1, 2]


def test_columns_are_neither_missing_nor_unknown_nor_replaced() -> None:
    with pytest.raises(TypeError, match="Beads: missing or unknown columns: owner"):
        Beads(number=np.zeros(1))
    with pytest.raises(TypeError, match="colour"):
        Beads.of(1, colour=np.zeros(1))
    with pytest.raises(FrozenInstanceError):
        beads(1).number = np.zeros(1, np.int64)
    with pytest.raises(FrozenInstanceError):
        del beads(1).number
    assert repr(Goroutines.of(2)) == "<Goroutines: 2 rows>"
