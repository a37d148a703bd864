"""What is unusual in a snapshot, and where to look next: the first thing that every view shows.

`findings` asks each of `SOURCES`; another capability adds its own there. A finding states facts with
their numbers; from when on something is unusual is in ``thresholds.py``, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from spyglass.analysis.findings.cpu import cpu_findings
from spyglass.analysis.findings.crowds import crowd_findings
from spyglass.analysis.findings.doubts import doubt_findings
from spyglass.analysis.findings.finding import NOTHING, SEVERITIES, Findable, Finding
from spyglass.analysis.findings.memory import memory_findings
from spyglass.analysis.findings.scheduling import scheduling_findings
from spyglass.analysis.findings.waits import wait_findings
from spyglass.model import Snapshot

if TYPE_CHECKING:
    from spyglass.analysis.wait_verdicts import WaitVerdicts

__all__ = [
    "NOTHING", "SEVERITIES", "SOURCES", "Finding", "findings", "findings_of", "memory_view_findings",
    "watched_findings", "written_findings", "written_wait_findings",
]  # fmt: skip


def _blocked_findings(findable: Findable) -> Iterable[Finding]:
    if findable.verdicts is None:  # and what is needed for them is not imported
        return ()
    from spyglass.analysis.findings.blocked import blocked_findings

    return blocked_findings(findable)


def _window_findings(findable: Findable) -> Iterable[Finding]:
    if findable.snapshot.window is None:
        return ()
    from spyglass.analysis.findings.window import window_findings

    return window_findings(findable)


def _account_findings(findable: Findable) -> Iterable[Finding]:
    if findable.snapshot.account is None:
        return ()
    from spyglass.analysis.findings.account import account_findings

    return account_findings(findable)


#: What findings come from. Those of one severity are in this order.
SOURCES: tuple[Callable[[Findable], Iterable[Finding]], ...] = (
    _blocked_findings,
    wait_findings,
    crowd_findings,
    cpu_findings,
    memory_findings,
    _account_findings,
    scheduling_findings,
    _window_findings,
    doubt_findings,
)


def findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """What is unusual in `snapshot`, the most severe first; none: nothing is.

    Of a part that filters chose only what concerns the whole program is said: shares of a part would
    mislead.
    """
    return findings_of(Findable(snapshot), SOURCES)


def watched_findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Those of `findings` that say what hindered goroutines from running while the scheduler was watched."""
    found = findings_of(Findable(snapshot), (_window_findings, cpu_findings))
    return tuple(finding for finding in found if finding.kind != "cpu")


def memory_view_findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Those of `findings` that are about memory."""
    return findings_of(Findable(snapshot), (memory_findings, _account_findings))


def findings_of(
    findable: Findable, sources: Iterable[Callable[[Findable], Iterable[Finding]]]
) -> tuple[Finding, ...]:
    """What `sources` find unusual in `findable`, the most severe first."""
    found = [finding for source in sources for finding in source(findable)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def written_findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """`findings` as pages and documents have them: of a redacted snapshot, commands name its file without
    directories."""
    return findings(_without_directories(snapshot))


def written_wait_findings(known: WaitVerdicts) -> tuple[Finding, ...]:
    """Those of `written_findings` that are about waits."""
    findable = Findable(_without_directories(known.snapshot), known)
    return findings_of(findable, (_blocked_findings, wait_findings))


def _without_directories(snapshot: Snapshot) -> Snapshot:
    if not snapshot.redacted or snapshot.file is None:
        return snapshot
    return replace(snapshot, file=snapshot.file.rpartition("/")[2])
