"""The report: template, style, script, data and snapshot in one HTML file."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from spyglass.export.snapshot_file import default_name
from spyglass.export.snapshot_writer import write_gzip
from spyglass.model import Snapshot
from spyglass.profile import Profile
from spyglass.report.markup import joined
from spyglass.report.page_data import report_data
from spyglass.report.page_facts import memory, program, program_name, scheduler, taken
from spyglass.report.page_findings import findings_list
from spyglass.report.page_memory import account_card, heap_data_element, heap_link, heap_section
from spyglass.report.page_profiles import profile_data_elements, profile_links, profile_sections
from spyglass.report.page_waits import waits_link, waits_section
from spyglass.report.template import asset, page, script_json
from spyglass.site_profile import SiteProfile
from spyglass.words.units import moment

__all__ = ["report", "write_page"]

#: The parts of the page's script; each depends on those before it.
SCRIPTS = (
    "words.js", "data.js", "selection.js", "table.js", "charts.js", "waits.js", "groups.js", "details.js", "flame.js",
    "goroutines.js", "lists.js", "theme.js", "page.js",
)  # fmt: skip
#: The parts for profiles, if there are any.
PROFILE_SCRIPTS = ("profile.js", "sites.js", "report_profiles.js")

#: More than a file has: a page is sent with a ticket, and grows by a third in base64.
_GZIP_LEVEL = 4


def report(
    snapshot: Snapshot,
    profiles: Sequence[Profile] = (),
    heap: SiteProfile | None = None,
) -> Iterator[str]:
    """The page of `snapshot`, with `profiles` of the same process, at most one of each mode, and its `heap` profile, in pieces of Unicode text without surrogates.

    The page loads nothing and sends nothing. Its Content-Security-Policy makes the browser enforce
    that: only this style and this script, identified by their hashes, are allowed.
    """
    scripts = SCRIPTS + (PROFILE_SCRIPTS if profiles or heap is not None else ())
    contents: dict[str, Callable[[], str]] = {
        "title": lambda: joined(_title(snapshot)),
        "name": lambda: joined(program_name(snapshot.process)),
        "taken": lambda: joined(taken(snapshot)),
        "findings": lambda: findings_list(snapshot),
        "goroutines": lambda: asset("goroutines.html"),
        "waits_link": lambda: joined(waits_link(snapshot)),
        "waits": lambda: joined(waits_section(snapshot)),
        "profile_links": lambda: joined(profile_links(profiles), heap_link(heap)),
        "profiles": lambda: joined(profile_sections(profiles), heap_section(heap)),
        "profile_data": lambda: joined(profile_data_elements(profiles), heap_data_element(heap)),
        "program": lambda: program(snapshot),
        "scheduler": lambda: scheduler(snapshot),
        "memory": lambda: joined(account_card(snapshot.account), memory(snapshot)),
        "data": lambda: script_json(report_data(snapshot)),
        "download": lambda: joined(default_name(snapshot, ".json")),
        "snapshot": lambda: _embedded(snapshot),
    }
    yield from page("page.html", scripts, contents)


def write_page(
    snapshot: Snapshot,
    stream: BinaryIO,
    *,
    profiles: Sequence[Profile] = (),
    heap: SiteProfile | None = None,
) -> None:
    """Write the page of `snapshot`, with what `report` takes beside it, in UTF-8."""
    for piece in report(snapshot, profiles, heap):
        stream.write(piece.encode())


def _title(snapshot: Snapshot) -> str:
    name, pid = program_name(snapshot.process), snapshot.process.pid
    return f"{name} (pid {pid}), {moment(snapshot.taken_at)}: spyglass report"


def _embedded(snapshot: Snapshot) -> str:
    """The JSON document of `snapshot`, compressed, in base64."""
    packed = io.BytesIO()
    write_gzip(snapshot, packed, level=_GZIP_LEVEL)
    return b64encode(packed.getbuffer()).decode("ascii")
