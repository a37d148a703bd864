"""How figures moved over the last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

__all__ = ["History", "sparkline"]

_KEPT = 600
_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


class History:
    """The last values of some figures, by their names; None: it was not known then."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float | None]] = {}
        self._length = 0

    def note(self, figures: Mapping[str, float | None]) -> None:
        """The next tick's figures."""
        for name in {**self._values, **figures}:
            values = self._values.setdefault(name, deque([None] * self._length, _KEPT))
            values.append(figures.get(name))
        self._length = min(self._length + 1, _KEPT)

    def line(self, name: str, width: int, *, ascii_only: bool = False) -> str:
        """The last values of a figure as `width` bars at most; nothing for one that did not move."""
        values = self._values.get(name, deque())
        return sparkline([each for each in values if each is not None], width, ascii_only)


def sparkline(values: list[float], width: int, ascii_only: bool = False) -> str:
    """`values` as bars, several as the highest of them; nothing if all are the same."""
    if width <= 0 or len(set(values)) < 2:
        return ""
    each = -(-len(values) // width)
    peaks = [max(values[first : first + each]) for first in range(0, len(values), each)]
    low, bars = min(values), _ASCII_BARS if ascii_only else _BARS
    span = max(peaks) - low
    return "".join(bars[int((peak - low) / span * (len(bars) - 1) + 0.5)] for peak in peaks)
