from __future__ import annotations

import itertools

import numpy as np

from spyglass.analysis.waits import has_waits, median_waits_ns
from spyglass.model import NONE
from tests.snapshots import Row, make_snapshot


def test_medians_are_those_of_sorted_waits() -> None:
    random = np.random.default_rng(3)
    waits = random.integers(-1, 50, 20_000).tolist()
    snapshot = make_snapshot(
        [Row(i + 1, waiting_ns=None if wait == NONE else wait) for i, wait in enumerate(waits)]
    )
    rows = random.permutation(20_000)
    ends = [0, 1, 3, 6, 10, 5000, 5001, 5003, 14_000, 19_000, 20_000]
    groups = [rows[first:end] for first, end in itertools.pairwise(ends)]
    expected = [sorted(waits[row] for row in some)[(len(some) - 1) // 2] for some in groups]
    assert median_waits_ns(snapshot, groups) == [
        None if wait == NONE else wait for wait in expected
    ]
    assert median_waits_ns(snapshot, []) == []


def test_whether_any_wait_is_known() -> None:
    snapshot = make_snapshot([Row(1), Row(2, waiting_ns=0), Row(3)])
    assert has_waits(snapshot, np.array([0, 1]))
    assert not has_waits(snapshot, np.array([0, 2]))
    assert not has_waits(snapshot, np.array([], np.int64))
