"""The memory in a report: its account, and the heap profile, of the process that the report is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from spyglass.cli.sources import ProcessSource, Source
from spyglass.errors import SpyglassError
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.memory_account import MemoryAccount
    from spyglass.site_profile import SiteProfile

__all__ = ["ReportedMemory", "reported_memory"]


class ReportedMemory(NamedTuple):
    """What a report says of memory beside the snapshot; None: it is not known, or not wanted."""

    account: MemoryAccount | None = None
    heap: SiteProfile | None = None


def reported_memory(source: Source, *, heap: bool, redact: bool) -> ReportedMemory:
    """The account of a process and, if `heap` is set, its heap profile. What cannot be read is left out, with a line on
    stderr. Of cores and files there is none."""
    if not isinstance(source, ProcessSource):
        return ReportedMemory()
    from spyglass import attach

    try:
        with attach(source.pid) as program:
            account = program.memory_account()
            profile = program.heap_profile() if heap else None
    except SpyglassError as error:
        click.echo(visible(f"no account of memory: {error.message}"), err=True)
        return ReportedMemory()
    if profile is None:
        return ReportedMemory(account)
    if profile.why_not is not None:
        click.echo(visible(f"no heap profile: {profile.why_not}"), err=True)
        return ReportedMemory(account)
    from spyglass.analysis.redaction import redacted_sites

    sites = profile.by_site()
    return ReportedMemory(account, redacted_sites(sites) if redact else sites)
