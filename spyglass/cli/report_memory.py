"""The heap profile in a report, of the process that the report is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spyglass.cli.sources import ProcessSource, Source
from spyglass.errors import SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.site_profile import SiteProfile

__all__ = ["heap_sites"]


def heap_sites(source: Source, *, redact: bool) -> SiteProfile | None:
    """The heap profile of a process. None if it cannot be read, which a line on stderr says; of cores and files there is
    none."""
    if not isinstance(source, ProcessSource):
        return None
    from spyglass import attach

    try:
        with attach(source.pid) as program:
            profile = program.heap_profile()
    except SpyglassError as error:
        click.echo(visible(f"no heap profile: {error.message}"), err=True)
        return None
    if profile.why_not is not None:
        click.echo(visible(f"no heap profile: {profile.why_not}"), err=True)
        return None
    from spyglass.analysis.redaction import redacted_sites

    sites = profile.by_site()
    return redacted_sites(sites) if redact else sites
