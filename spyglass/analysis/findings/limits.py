"""How near a process is to a limit of its memory, what was killed there before, and when it will be met."""

from __future__ import annotations

from collections.abc import Iterator

from spyglass.analysis.findings.finding import Finding, Severity
from spyglass.analysis.findings.thresholds import (
    FORECAST_CRITICAL_SECONDS,
    LIMIT_CRITICAL_SHARE,
    LIMIT_SHARE,
    PRESSURE_PERCENT,
)
from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryLimits, MemoryPressure
from spyglass.words.memory_limits import forecast_text, limit_text
from spyglass.words.units import plural, size

__all__ = ["limit_findings"]

_EFFECTS = {
    "kill": "the kernel kills a process when there is nothing left",
    "slow": "beyond it the kernel slows the processes of the group down",
    "refuse": "beyond it the kernel refuses memory, and the Go runtime ends the program",
}
_FILES = 3


def limit_findings(
    limits: MemoryLimits, next_command: str, forecast: MemoryForecast | None = None
) -> Iterator[Finding]:
    """What is unusual about `limits`: when one is met, the nearest one, page cache, past kills, pressure."""
    if forecast is not None:
        yield _forecast(limits, forecast, next_command)
    near = limits.nearest
    if near is not None and (severity := _severity(near)):
        yield _near(limits, near, severity, next_command)
    group = limits.group
    if group is not None and group is not near and (severity := _severity(group)):
        yield _near(limits, group, severity, next_command)
    elif group is not None:
        yield from _page_cache(limits, group, next_command)
    yield from _kills(limits, next_command)
    yield from (
        _pressure(each, next_command)
        for each in limits.pressure
        if each.some_percent[1] >= PRESSURE_PERCENT
    )


def _forecast(limits: MemoryLimits, forecast: MemoryForecast, command: str) -> Finding:
    soon = forecast.earliest_in_seconds <= FORECAST_CRITICAL_SECONDS
    return Finding(
        kind="memory-forecast",
        severity="critical" if soon and forecast.latest_in_seconds is not None else "warning",
        title=forecast_text(limits, forecast),
        next=command,
    )


def _severity(limit: MemoryLimit) -> Severity | None:
    """How severe it is that so little is left; None: enough is. A host uses its memory for what runs on it."""
    held = limit.held_bytes
    if held is None or not limit.bytes or held < LIMIT_SHARE * limit.bytes:
        return None
    is_critical = held >= LIMIT_CRITICAL_SHARE * limit.bytes
    if limit.kind == "host":
        return "warning" if is_critical else None
    return "critical" if is_critical else "warning"


def _near(limits: MemoryLimits, limit: MemoryLimit, severity: Severity, command: str) -> Finding:
    held, what = limit.held_bytes or 0, "used"
    if limit.reclaimable_bytes:
        what = "used that cannot be reclaimed"
    return Finding(
        kind="memory-limit",
        severity=severity,
        title=f"{size(held)} {what}: {_percent(held, limit.bytes)} of {limit_text(limits, limit)}, "
        f"{size(limit.bytes)}{_working_set(limit)}; {_EFFECTS[limit.effect]}",
        next=command,
    )


def _working_set(limit: MemoryLimit) -> str:
    working_set = limit.working_set_bytes
    return "" if working_set is None else f" (working set {_percent(working_set, limit.bytes)})"


def _percent(part: int, whole: int | None) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "?"


def _page_cache(limits: MemoryLimits, group: MemoryLimit, command: str) -> Iterator[Finding]:
    """A group that seems to be full, and is so only of page cache."""
    used, limit, cache = group.used_bytes, group.bytes, group.reclaimable_bytes
    if used is None or limit is None or not cache or used < LIMIT_SHARE * limit:
        return
    yield Finding(
        kind="page-cache",
        severity="info",
        title=f"{size(used)} of {limit_text(limits, group)}, {size(limit)}, are used, "
        f"{size(cache)} of it by page cache{_working_set(group)}, which the kernel drops before it kills",
        detail=_files(limits),
        next=command,
    )


def _files(limits: MemoryLimits) -> str | None:
    cached = [file for file in limits.files or () if file.cached_bytes and not file.in_memory]
    if not cached:
        return None
    return "in memory of open files: " + ", ".join(
        f"{file.path} {size(file.cached_bytes)}" for file in cached[:_FILES]
    )


def _kills(limits: MemoryLimits, command: str) -> Iterator[Finding]:
    """Kills in the innermost group that counted any."""
    for limit in limits.rows:
        if limit.kind == "cgroup" and limit.oom_kills:
            group = limit_text(limits, limit).rpartition(" of ")[2]
            yield Finding(
                kind="oom-kills",
                severity="warning",
                title=f"the kernel has killed {_processes(limit.oom_kills)} of {group} for lack of memory",
                next=command,
            )
            return


def _processes(number: int) -> str:
    return plural(number, "process") if number == 1 else f"{number:,} processes"


def _pressure(pressure: MemoryPressure, command: str) -> Finding:
    where = "in its control group" if pressure.path is not None else "on this host"
    return Finding(
        kind="memory-pressure",
        severity="warning",
        title=f"tasks {where} waited for memory {pressure.some_percent[1]:.0f} % of the last minute, "
        f"all at once {pressure.full_percent[1]:.0f} %",
        next=command,
    )
