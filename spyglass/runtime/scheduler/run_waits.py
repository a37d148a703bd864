"""How long goroutines waited in run queues: the runtime's own histogram.

Knowledge: src/runtime/histogram.go (``timeHistogram.record``), proc.go (``casgstatus``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bucket_ends_ns", "counts_of", "quantile_ns"]

#: ``timeHistNumSubBuckets`` and the exponent of the width in ns of the first of these, by the number of all
#: buckets: 45 times 16 up to Go 1.19, 40 times 4 since 1.20.
_KINDS = {720: (16, 0), 160: (4, 6)}


def counts_of(field: Any) -> NDArray[np.uint64] | None:
    """The counts of the buckets (``timeHistogram.counts``), uint64; None if it has another number of them."""
    counts = np.frombuffer(np.asarray(field).tobytes(), np.uint64)
    return counts if len(counts) in _KINDS else None


def bucket_ends_ns(number: int) -> NDArray[np.float64]:
    """Where each of `number` buckets ends, in ns."""
    sub, exponent = _KINDS[number]
    bucket, part = np.divmod(np.arange(number), sub)
    whole = np.where(bucket > 0, sub, 0) + part + 1
    ends: NDArray[np.float64] = whole * 2.0 ** (exponent + np.maximum(bucket - 1, 0))
    return ends


def quantile_ns(counts: NDArray[np.uint64], share: float) -> int | None:
    """An upper bound in ns of what `share` of the waits in `counts` took; None if there are none."""
    total = int(counts.sum())
    if not total:
        return None
    at = int(np.searchsorted(np.cumsum(counts), share * total))
    return int(bucket_ends_ns(len(counts))[min(at, len(counts) - 1)])
