"""Time spans as people type them: ``90s``, ``1h30m``."""

from __future__ import annotations

import re

__all__ = ["span_ns"]

_MAX_NS = (1 << 63) - 1
_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


def span_ns(span: str) -> int:
    """A time span in ns, from Go's form (``time.ParseDuration``) with days added; raises `ValueError`."""
    parts = _SPAN.findall(span)
    if not parts or "".join(number + unit for number, unit in parts) != span:
        raise ValueError(f"{span!r} is not a duration such as 90s, 5m or 1h30m")
    return int(min(sum(float(number) * _UNITS_NS[unit] for number, unit in parts), _MAX_NS))
