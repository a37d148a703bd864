"""Limits of memory, and when one is met, as values that JSON knows."""

from __future__ import annotations

from typing import Any

from spyglass.export.plain_values import record
from spyglass.memory_limits import MemoryForecast, MemoryLimit

__all__ = ["forecast_record", "limit_record"]


def limit_record(limit: MemoryLimit) -> dict[str, Any]:
    """A limit with what is left of it."""
    return record(limit) | {"headroom_bytes": limit.headroom_bytes}


def forecast_record(forecast: MemoryForecast | str | None) -> dict[str, Any] | None:
    """A forecast; None if there is none, of which a text says why."""
    return record(forecast) if isinstance(forecast, MemoryForecast) else None
