"""How late beats and answers are, with spyglass and without it, in periods one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Latencies", "Pairs"]

#: Milliseconds, by what they are of.
Latencies = Mapping[str, Iterable[float]]
_LEAST = 20


@dataclass
class Pairs:
    """Pairs of periods: with spyglass, and right after it without."""

    with_us: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    without: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, with_us: Latencies, without: Latencies) -> None:
        """Add a pair, of what was measured often enough in both."""
        for kind in with_us.keys() & without.keys():
            pair = list(with_us[kind]), list(without[kind])
            if min(map(len, pair)) >= _LEAST:
                self.with_us[kind].append(pair[0])
                self.without[kind].append(pair[1])

    def lines(self) -> list[str]:
        """Medians and 99th percentiles, in milliseconds, and the mean difference of the latter with its standard error."""
        rows = ["", *(self._line(kind) for kind in sorted(self.with_us))]
        rows[0] = (
            f"{'milliseconds':44} {'p50':>8} {'without':>8} {'p99':>8} {'without':>8}   difference of p99, pairs"
        )
        return rows

    def difference(self, kind: str) -> tuple[float, float]:
        """The mean difference of the 99th percentiles of pairs, in milliseconds, and its standard error; nan of one pair."""
        return _mean(self._differences(kind))

    def excess(self, kind: str, other: str) -> tuple[float, float]:
        """By how much the difference of `kind` is greater than that of `other`, and its standard error: what both feel of a busy
        host is not in it."""
        return _mean(self._differences(kind) - self._differences(other))

    def _differences(self, kind: str) -> np.ndarray:
        pairs = zip(self.with_us[kind], self.without[kind], strict=True)
        return np.array([np.percentile(a, 99) - np.percentile(b, 99) for a, b in pairs])

    def _line(self, kind: str) -> str:
        ours, others = np.concatenate(self.with_us[kind]), np.concatenate(self.without[kind])
        numbers = [np.percentile(each, p) for p in (50, 99) for each in (ours, others)]
        difference, error = self.difference(kind)
        shown = " ".join(f"{number:8.2f}" for number in numbers)
        return f"{kind:44} {shown}   {difference:+.2f} ± {error:.2f}, {len(self.with_us[kind])}"


def _mean(numbers: np.ndarray) -> tuple[float, float]:
    error = numbers.std(ddof=1) / np.sqrt(len(numbers)) if len(numbers) > 1 else np.nan
    return float(numbers.mean()), float(error)
