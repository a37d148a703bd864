"""The runtime's histogram of waits in run queues: where its buckets end."""

from __future__ import annotations

import numpy as np
import pytest

from spyglass.runtime.scheduler.run_waits import bucket_ends_ns, counts_of, quantile_ns


def bucket_since_1_20(ns: int) -> int:
    """As ``timeHistogram.record`` (histogram.go) since Go 1.20 counts a duration."""
    length = max(ns.bit_length(), 9)
    bucket = 0 if ns.bit_length() < 9 else length - 9 + 1
    return bucket * 4 + (ns >> (length - 1 - 2)) % 4


def bucket_until_1_19(ns: int) -> int:
    if ns < 16:
        return ns
    bucket = ns.bit_length() - 4
    return bucket * 16 + (ns >> (bucket - 1)) % 16


@pytest.mark.parametrize(
    ("number", "bucket_of"), [(160, bucket_since_1_20), (720, bucket_until_1_19)]
)
def test_a_wait_is_below_the_end_of_its_bucket_and_not_of_the_one_before(
    number: int, bucket_of: object
) -> None:
    ends = bucket_ends_ns(number)
    assert (np.diff(ends) > 0).all()
    for exponent in range(46):
        for ns in {(1 << exponent) * part // 16 for part in range(16, 32)}:
            bucket = bucket_of(ns)  # type: ignore[operator]
            assert ns < ends[bucket]
            assert bucket == 0 or ns >= ends[bucket - 1]


def test_quantiles_are_upper_bounds() -> None:
    counts = np.zeros(160, np.uint64)
    assert quantile_ns(counts, 0.5) is None
    counts[bucket_since_1_20(10_000)] = 98
    counts[bucket_since_1_20(50_000_000)] = 2
    half, most = quantile_ns(counts, 0.5), quantile_ns(counts, 0.99)
    assert half is not None
    assert most is not None
    assert 10_000 <= half <= 12_500
    assert 50_000_000 <= most <= 62_500_000


def test_another_number_of_buckets_is_not_understood() -> None:
    assert counts_of(np.zeros(161, np.uint64)) is None
    assert counts_of(np.zeros(3, np.uint64)) is None
    known = counts_of(np.array(b"\1" + bytes(1279), "V1280"))
    assert known is not None
    assert known[0] == 1
