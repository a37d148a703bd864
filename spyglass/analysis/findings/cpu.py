"""Processor time: how much is used, where, and whether the control group throttles it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from spyglass.analysis.findings.finding import Findable, Finding, Severity
from spyglass.analysis.findings.thresholds import (
    BUSY_CORES,
    HOT_SHARE,
    MIN_SAMPLES,
    MIN_WINDOW_NS,
    SAMPLED_SHARE,
    SATURATED_SHARE,
    THROTTLED_CRITICAL_SHARE,
    THROTTLED_SHARE,
)
from spyglass.model import CpuUse, Snapshot, Throttling
from spyglass.words.units import count, duration, plural

__all__ = [
    "available_cores", "cpu_findings", "cpu_text", "lifetime_text", "sampled_code", "used_cores",
]  # fmt: skip

#: What runs where no user's code does, by `CpuSample.runs`.
_OTHER = {"goroutine": "the runtime", "g0": "the scheduler or garbage collector", "C": "C code"}


def used_cores(use: CpuUse) -> float | None:
    """Processors used in the window; None if it is not known, or was too short to tell."""
    if use.used_ns is None or use.window_ns is None or use.window_ns < MIN_WINDOW_NS:
        return None
    return use.used_ns / use.window_ns


def available_cores(use: CpuUse) -> float | None:
    """How many processors' time the process may use: its affinity, or a smaller quota."""
    known = [limit for limit in (use.processors, use.limit_cores) if limit is not None]
    return min(known, default=None)


def cpu_text(use: CpuUse) -> str | None:
    """``1.01 of 2 cores (limit 1.5)``; None if what is used is not known."""
    used = used_cores(use)
    if used is None:
        return None
    of = "" if use.processors is None else f" of {use.processors}"
    limit = "" if use.limit_cores is None else f" (limit {use.limit_cores:g})"
    return f"{used:.2f}{of} cores{limit}"


def lifetime_text(use: CpuUse, uptime_seconds: float | None) -> str | None:
    """``1h 2m (0.26 cores)``, processor time since the process started; None if it is not known."""
    if use.lifetime_ns is None:
        return None
    share = f" ({use.lifetime_ns / uptime_seconds / 1e9:.2f} cores)" if uptime_seconds else ""
    return f"{duration(use.lifetime_ns)}{share}"


def sampled_code(snapshot: Snapshot, use: CpuUse) -> Counter[tuple[str, bool]]:
    """The samples by what ran: the name of a function of the user's and True, or words and False."""
    places: Counter[tuple[str, bool]] = Counter()
    for sample in use.samples:
        frame = snapshot.frame(sample.where) if sample.where is not None else None
        name = frame.function if frame else _OTHER.get(sample.runs or "", "unknown code")
        places[name, frame is not None] += sample.count
    return places


def cpu_findings(findable: Findable) -> Iterator[Finding]:
    """A busy process and where it spends its time; throttling."""
    use = findable.snapshot.cpu
    if use is None:
        return
    if use.throttling is not None:
        yield from _throttled(findable, use.throttling)
    yield from _more_ps(findable, use)
    used, available = used_cores(use), available_cores(use)
    if used is None:
        return
    is_full = available is not None and used >= SATURATED_SHARE * available
    if used < BUSY_CORES and not is_full:
        return
    where, function = _hottest(findable.snapshot, use)
    severity: Severity = "warning" if is_full or function else "info"
    yield Finding(
        kind="cpu",
        severity=severity,
        title=f"CPU {cpu_text(use)}{where and f': {where}'}",
        functions=(function,) if function else (),
        next=findable.command("top")
        if findable.snapshot.file is None
        else findable.command("dump", "--state", "running"),
    )


def _hottest(snapshot: Snapshot, use: CpuUse) -> tuple[str, str | None]:
    """Where most samples were, in words; and the function, None if it is not the user's."""
    places = sampled_code(snapshot, use)
    total = places.total()
    if total < MIN_SAMPLES:
        return "", None
    (name, is_users), number = places.most_common(1)[0]
    is_hot = is_users and number >= HOT_SHARE * total
    of, most = f"{count(number)} of {count(total)} samples", False
    if use.sampled_ns is not None and use.used_ns is not None:
        most = use.sampled_ns >= SAMPLED_SHARE * use.used_ns
        if not most:
            used = f"{duration(use.sampled_ns)} of {duration(use.used_ns)}"
            of += f" of {plural(use.sampled_threads or 0, 'thread')} that used {used}"
    return f"{100 * number // total} % in {name} ({of})", name if is_hot and most else None


def _throttled(findable: Findable, throttling: Throttling) -> Iterator[Finding]:
    """The quota is used up: in the window, or in many periods since the group was made."""
    recent, total = (
        _share(throttling.recent_throttled, throttling.recent_periods),
        _share(throttling.total_throttled, throttling.total_periods),
    )
    if max(recent, total) < THROTTLED_SHARE:
        return
    since = f"{100 * total:.0f} % of periods since the group was made, {duration(throttling.total_throttled_ns)} in all"
    now = f"{throttling.recent_throttled} of the last {throttling.recent_periods} periods"
    yield Finding(
        kind="cpu-throttled",
        severity="critical" if recent >= THROTTLED_CRITICAL_SHARE else "warning",
        title=f"throttled by the CPU quota of its control group: {now}; {since}",
        next=None,
    )


def _more_ps(findable: Findable, use: CpuUse) -> Iterator[Finding]:
    """GOMAXPROCS is above the quota, rounded as Go 1.25 does (``runtime: adjustCgroupGOMAXPROCS``)."""
    ps, limit = findable.snapshot.scheduler.gomaxprocs, use.limit_cores
    if ps is None or limit is None or ps <= max(math.ceil(limit), 2):
        return
    is_throttled = use.throttling is not None and use.throttling.recent_throttled > 0
    yield Finding(
        kind="gomaxprocs",
        severity="warning" if is_throttled else "info",
        title=f"GOMAXPROCS is {ps}, and the CPU quota of its control group {limit:g}: goroutines that run at the "
        "same time use it up early in each period",
        next=None,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
