"""Limits of memory, and when they are met, in words."""

from __future__ import annotations

from math import ceil

from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryLimits
from spyglass.words.units import size

__all__ = ["forecast_text", "limit_text", "when_text"]

_NAMES = {
    "memory.max": "the memory limit",
    "memory.limit_in_bytes": "the memory limit",
    "memory.memsw.limit_in_bytes": "the limit of memory and swap",
    "hierarchical_memory_limit": "the memory limit",
    "memory.swap.max": "the swap limit",
    "MemTotal": "the memory of the host",
    "CommitLimit": "what the host may promise (CommitLimit)",
}
#: Of a longer path the end is shown.
_MAX_PATH = 40
#: From how many seconds on times are in a larger unit.
_UNITS = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "h"), (120, 60, "min"), (0, 1, "s"))


def limit_text(limits: MemoryLimits, limit: MemoryLimit) -> str:
    """What `limit`, one of `limits`, is a limit of: "the memory limit of its control group"."""
    name = _NAMES.get(limit.name, limit.name)
    if limit.kind != "cgroup":
        return name
    if limit.path is None:
        return f"{name} of a control group above its own"
    group = limits.group
    if group is not None and group.path == limit.path:
        return f"{name} of its control group"
    path = limit.path if len(limit.path) <= _MAX_PATH else "…" + limit.path[1 - _MAX_PATH :]
    return f"{name} of control group {path}"


def when_text(forecast: MemoryForecast) -> str:
    """The interval in the unit that fits its end, rounded outward: "in 16 to 20 min"."""
    earliest, latest = forecast.earliest_in_seconds, forecast.latest_in_seconds
    unit_of = earliest if latest is None else latest
    seconds, unit = next((each, unit) for least, each, unit in _UNITS if unit_of >= least)
    low = int(earliest // seconds)
    if latest is None:
        return f"in {low} {unit} at the earliest"
    high = ceil(latest / seconds)
    return f"in {low} to {high} {unit}" if low else f"within {high} {unit}"


def forecast_text(limits: MemoryLimits, forecast: MemoryForecast) -> str:
    """``the memory limit of its control group, 2.0 GiB, is met in 16 to 20 min at this rate``."""
    limit = limits.rows[forecast.limit]
    return f"{limit_text(limits, limit)}, {size(limit.bytes)}, is met {when_text(forecast)} at this rate"
