"""Readings of a process's memory for a while, for a forecast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.memory_limits import MemoryForecast, MemoryReading

__all__ = ["MemoryWatch"]

#: Readings in each period. They take a millisecond or two.
_READINGS = 20
#: Of more readings than this every other one is left out.
_MAX_READINGS = 400
_MIN_SECONDS = 0.05


@dataclass
class MemoryWatch:
    """Readings of `process`, as many as one after another were taken."""

    process: Inspector
    readings: list[MemoryReading] = field(default_factory=list)

    def run(self, seconds: float) -> bool:
        """Take readings for so long, or until Ctrl-C, which returns False."""
        with suppress(KeyboardInterrupt):
            self._run(seconds)
            return True
        return False

    def _run(self, seconds: float) -> None:
        begin = time.monotonic()
        step = max(seconds / _READINGS, _MIN_SECONDS)
        number = 0 if not self.readings else 1
        while number * step <= seconds * (1 + 1e-9):
            time.sleep(max(begin + number * step - time.monotonic(), 0))
            self.readings.append(self.process.memory_reading())
            number += 1
        if len(self.readings) > _MAX_READINGS:
            self.readings = _thinned(self.readings)

    def forecast(self) -> MemoryForecast | str:
        """What follows from all readings so far."""
        from spyglass.analysis.memory_forecast import forecast

        return forecast(self.readings)


def _thinned(readings: Sequence[MemoryReading]) -> list[MemoryReading]:
    """Every other one, with the last."""
    return list(readings[::-1][::2][::-1])
