"""What collections took, from the part of the available time that the runtime notes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from spyglass.runtime.heap.gc_time import _cpu_ns

SECOND_NS = 10**9


def stats(count: int, ended_s: int, fraction: float) -> Any:
    kind = [("numgc", "u4"), ("last_gc_nanotime", "u8"), ("gc_cpu_fraction", "f8")]
    return np.array([(count, ended_s * SECOND_NS, fraction)], kind)[0]


def available(total_s: int, since_s: int, ps: int = 2) -> tuple[int, int, int]:
    return total_s * SECOND_NS, since_s * SECOND_NS, ps


@pytest.mark.parametrize(
    "known", [available(0, 100), available(10, 105), available(20, 110), available(60, 130)]
)
def test_it_does_not_matter_when_the_available_time_was_added_up(
    known: tuple[int, int, int],
) -> None:
    """Two Ps since second 100, of which collections had taken a tenth at second 110."""
    assert _cpu_ns(stats(3, 110, 0.1), known) == 2 * SECOND_NS


def test_before_the_first_collection_they_took_nothing() -> None:
    assert _cpu_ns(stats(0, 0, 0), None) == 0


@pytest.mark.parametrize("fraction", [math.nan, math.inf, -0.1, 1.1])
def test_a_fraction_that_is_none_is_not_understood(fraction: float) -> None:
    assert _cpu_ns(stats(3, 110, fraction), available(0, 100)) is None


def test_what_a_version_does_not_have_is_not_known() -> None:
    assert _cpu_ns(stats(3, 110, 0.1), None) is None
    assert _cpu_ns(stats(3, 10, 0.1), available(0, 100)) is None
    kind = [("numgc", "u4"), ("last_gc_nanotime", "u8")]
    assert _cpu_ns(np.array([(3, 110)], kind)[0], available(0, 100)) is None
