"""What is kept of the last ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["Past"]

T = TypeVar("T")


class Past(Generic[T]):
    """One thing of each of the last `kept` ticks, in the order of their positions.

    The user may go back in a series of snapshots: then what belongs to later positions is not shown,
    and as much of it is kept.
    """

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._all: dict[int, T] = {}
        self._shown: Sequence[T] = ()

    def note(self, position: int, thing: T) -> None:
        """Add the `thing` of the tick at `position`, which is the current one from now on."""
        near = {at: each for at, each in self._all.items() if abs(at - position) < self.kept}
        self._all = dict(sorted((near | {position: thing}).items()))
        self._shown = [each for at, each in self._all.items() if at <= position]

    @property
    def shown(self) -> Sequence[T]:
        """What was noted up to the current position, in order: the current one is the last."""
        return self._shown
