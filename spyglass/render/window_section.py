"""The section of a summary about the time in which the scheduler was watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from spyglass.escape import visible
from spyglass.model import Snapshot
from spyglass.render.sections import fact, section
from spyglass.words.units import count, duration

if TYPE_CHECKING:
    from spyglass.scheduler_window import SchedulerWindow

__all__ = ["window_lines"]

#: Kinds of long calls that are shown.
_CALLS_SHOWN = 4


def window_lines(snapshot: Snapshot, width: int | None) -> Iterator[Text]:
    """What the scheduler did while it was watched; nothing if it was not."""
    window = snapshot.window
    if window is None or not window.window_ns:
        return
    facts = [fact("for", duration(window.window_ns))]
    if window.scheduled is not None:
        per_second = round(window.scheduled * 1e9 / window.window_ns)
        facts.append(fact("scheduled", f"{count(per_second)}/s"))
    facts += _looks(window)
    if window.run_waits:
        half, most = duration(window.run_wait_median_ns), duration(window.run_wait_p99_ns)
        facts.append(fact("waits for a P", f"50 % ≤{half}, 99 % ≤{most}"))
    if window.mutex_wait_ns:
        facts.append(
            fact("lock waits that ended", f"about {duration(window.mutex_wait_ns)} in all")
        )
    facts.append(fact("gc", count(window.gc_count)))
    if window.gc_count and window.gc_cpu_ns is not None and window.gc_span_ns:
        facts.append(fact("gc Ps", f"{window.gc_cpu_ns / window.gc_span_ns:.2f}"))
    if window.run_delay_ns is not None:
        waited = window.run_delay_ns / window.window_ns
        facts.append(fact("waiting for a processor of the host", f"{waited:.2f} threads"))
    yield from section("watched", facts, width)
    yield from section("calls", _long_calls(window), width)


def _looks(window: SchedulerWindow) -> Iterator[Text]:
    """Means over the looks."""
    if window.run_queue_mean is not None:
        most = f"{window.run_queue_mean:.1f} (most {count(window.run_queue_max)})"
        yield fact("run queue", most)
    if window.idle_ps_mean is not None:
        yield fact("Ps idle", f"{window.idle_ps_mean:.1f}")
    if window.spinning_ms_mean is not None:
        yield fact("spinning", f"{window.spinning_ms_mean:.1f}")


def _long_calls(window: SchedulerWindow) -> list[Text]:
    """What goroutines were in for the whole window, most first."""
    if not window.calls:
        return []
    kinds = Counter(
        (each.system_call or "?", each.target or "", bool(each.in_c)) for each in window.calls
    )
    return [
        fact(
            f"{'C: ' if in_c else ''}{visible(name)}{' of a ' + visible(of) if of else ''}",
            count(number),
        )
        for (name, of, in_c), number in kinds.most_common(_CALLS_SHOWN)
    ]
