"""What a process has over time, and whether it becomes more."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Measured", "slope", "without_steps"]

_HALF_MINUTE_S, _LEAST_HALF_MINUTES = 30.0, 8


@dataclass
class Measured:
    """What the server had at some moments: seconds, KiB, numbers."""

    seconds: list[float] = field(default_factory=list)
    rss_kib: list[float] = field(default_factory=list)
    #: Of it what is not of files (RssAnon, proc(5)).
    anonymous_kib: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def look(self, pid: int, seconds: float) -> None:
        """Look at process `pid` now."""
        status = Path(f"/proc/{pid}/status").read_text()
        numbers = dict(re.findall(r"^(VmRSS|RssAnon|Threads):\s+(\d+)", status, re.MULTILINE))
        self.seconds.append(seconds)
        self.rss_kib.append(int(numbers["VmRSS"]))
        self.anonymous_kib.append(int(numbers["RssAnon"]))
        self.threads.append(int(numbers["Threads"]))
        self.descriptors.append(len(os.listdir(f"/proc/{pid}/fd")))

    def words(self, name: str, left_out: float) -> str:
        """A line on `name`: first and last value, and slope per hour without the first part of the time."""
        values = getattr(self, name)
        per_minute, error = slope(self.seconds, values, left_out)
        return f"{name} {values[0]:,} to {values[-1]:,}, slope per hour {60 * per_minute:+,.1f} ± {60 * error:,.1f}"

    def certain_growth(
        self, name: str, left_out: float, errors: float, steps: int = 0, largest: float = 0
    ) -> float:
        """By how much `name` has grown at least in the time that is not left out, if its slope is too great by so many
        standard errors; nan if that cannot be said. `steps`, `largest`: as for `without_steps`."""
        if self.seconds[-1] * (1 - left_out) < _LEAST_HALF_MINUTES * _HALF_MINUTE_S:
            return float("nan")
        at, means = _half_minutes(self.seconds, getattr(self, name), left_out)
        per_minute, error = _line(at, without_steps(means, steps, largest))
        return (per_minute - errors * error) * self.seconds[-1] / 60 * (1 - left_out)

    def half_minutes(self, name: str) -> list[int]:
        """The means of half minutes."""
        blocks = (np.array(self.seconds) // _HALF_MINUTE_S).astype(int)
        values = np.array(getattr(self, name))
        return [round(float(values[blocks == kind].mean())) for kind in np.unique(blocks)]

    def document(self) -> dict[str, Any]:
        """First, last and greatest value, and slope per minute with its standard error."""
        found: dict[str, Any] = {"minutes": self.seconds[-1] / 60, "answers": self.statuses}
        for name in ("rss_kib", "anonymous_kib", "descriptors", "threads"):
            values = getattr(self, name)
            per_minute, error = slope(self.seconds, values)
            found[name] = {
                "first": values[0], "last": values[-1], "greatest": max(values),
                "per_minute": round(per_minute, 3), "standard_error": round(error, 3),
                "half_minutes": self.half_minutes(name),
            }  # fmt: skip
        return found


def slope(seconds: list[float], values: list[float], left_out: float = 0.2) -> tuple[float, float]:
    """The slope per minute of a straight line through the means of half minutes, and its standard error; nan if there are
    too few. `left_out`: the part of the time, at the beginning, that does not count."""
    return _line(*_half_minutes(seconds, values, left_out))


def without_steps(means: NDArray[np.float64], steps: int, largest: float) -> NDArray[np.float64]:
    """`means` without their `steps` largest steps upwards of at most `largest`, of those after which all are above all before:
    a table that is doubled makes one."""
    rises = np.diff(means)
    highest, lowest = np.maximum.accumulate(means), np.minimum.accumulate(means[::-1])[::-1]
    stays = np.flatnonzero((lowest[1:] > highest[:-1]) & (rises <= largest))
    rises[stays[np.argsort(rises[stays])][len(stays) - min(steps, len(stays)) :]] = 0
    return np.concatenate([means[:1], means[:1] + np.cumsum(rises)])


def _half_minutes(
    seconds: list[float], values: list[float], left_out: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of half minutes, of their times (in minutes) and of their values."""
    times, numbers = np.array(seconds), np.array(values)
    later = times >= times[-1] * left_out
    blocks = (times[later] // _HALF_MINUTE_S).astype(int)
    kinds = np.unique(blocks)
    at = np.array([times[later][blocks == kind].mean() for kind in kinds]) / 60
    means = np.array([numbers[later][blocks == kind].mean() for kind in kinds])
    return at, means


def _line(at: NDArray[np.float64], means: NDArray[np.float64]) -> tuple[float, float]:
    """The slope of a straight line, and its standard error; nan of fewer than 3 points."""
    if len(at) < 3:
        return float("nan"), float("nan")
    away = at - at.mean()
    per_minute = float((away * means).sum() / (away**2).sum())
    rest = means - means.mean() - per_minute * away
    variance = (rest**2).sum() / (len(at) - 2) / (away**2).sum()
    return per_minute, float(np.sqrt(variance))
