"""The values of figures at the last ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spyglass.tui.past import Past
from spyglass.words.sparkline import sparkline

__all__ = ["History"]

#: Values that are kept of each figure.
_KEPT = 600


class History:
    """The last values of figures, by name; None: not known at that tick."""

    def __init__(self) -> None:
        self._figures: Past[Mapping[str, float | None]] = Past(_KEPT)

    def note(self, position: int, figures: Mapping[str, float | None]) -> None:
        """Add the figures of the tick at `position`, and show those up to it."""
        self._figures.note(position, figures)

    def figures(self) -> Sequence[Mapping[str, float | None]]:
        """The figures of the last ticks, the current one last."""
        return self._figures.shown

    def line(self, name: str, width: int, *, ascii_only: bool = False) -> str:
        """The last values of figure `name` as at most `width` bars; empty if it did not change."""
        values = (figures.get(name) for figures in self._figures.shown)
        known = [value for value in values if value is not None]
        return sparkline(known, width, ascii_only=ascii_only)
