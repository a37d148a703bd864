"""The values of figures over the last ticks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from spyglass.words.sparkline import sparkline

__all__ = ["History"]

#: Values that are kept of each figure.
_KEPT = 600


class History:
    """The last values of figures, by name; None: not known at that tick."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float | None]] = {}
        self._length = 0

    def note(self, figures: Mapping[str, float | None]) -> None:
        """Add the figures of the next tick."""
        for name in {**self._values, **figures}:
            values = self._values.setdefault(name, deque([None] * self._length, _KEPT))
            values.append(figures.get(name))
        self._length = min(self._length + 1, _KEPT)

    def line(self, name: str, width: int, *, ascii_only: bool = False) -> str:
        """The last values of figure `name` as at most `width` bars; empty if it did not change."""
        values = self._values.get(name, deque())
        known = [value for value in values if value is not None]
        return sparkline(known, width, ascii_only=ascii_only)
