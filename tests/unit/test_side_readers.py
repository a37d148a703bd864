"""What is read beside goroutines is shown only if it is still the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.model import UNREAD
from spyglass.runtime.goroutines import side_readers
from spyglass.runtime.goroutines.consistency import Batch, Fetched
from spyglass.runtime.goroutines.side_readers import SideReaders


class Places:
    """What lies where the labels of goroutines point, which the test changes."""

    column, g_fields, unread = "labels", ("labels",), UNREAD

    def __init__(self, _: object) -> None:
        self.there = np.array([5, 6, 7], np.int32)

    def read(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self.there[rows["labels"].astype(np.intp)]


def test_what_lies_in_the_same_place_by_now_is_not_taken_for_what_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_readers, "SIDE_READERS", [Places])
    readers = SideReaders(None)  # type: ignore[arg-type]
    rows = np.array([(0,), (1,), (2,)], [("labels", "<u8")])
    fetched = Fetched(rows, np.ones(3, np.bool_), np.zeros((3, 1), np.uint64))
    batch, at = Batch.of(np.arange(3, dtype=np.uint64), fetched, ["labels"]), np.arange(3)
    readers.read(batch, at)
    readers.confirm(batch, at)
    assert batch.columns["labels"].tolist() == [5, 6, 7]
    places = readers._all[0]
    assert isinstance(places, Places)
    places.there[1] = 9
    readers.confirm(batch, at)
    assert batch.columns["labels"].tolist() == [5, UNREAD, 7]
