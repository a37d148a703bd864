"""How long the phases of reading a process take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Timer"]


@dataclass
class Timer:
    """Measures phases; `began_ns` (of time.perf_counter_ns) starts the first one earlier."""

    began_ns: int | None = None

    def __post_init__(self) -> None:
        self._start = time.perf_counter_ns()
        self.phases: dict[str, int] = {}
        if self.began_ns is not None:
            self.phases["attach"] = self._start - self.began_ns

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent in the context to phase `name`."""
        begin = time.perf_counter_ns()
        yield
        self.phases[name] = time.perf_counter_ns() - begin

    def total(self) -> int:
        """Nanoseconds since this timer was made."""
        return time.perf_counter_ns() - self._start
