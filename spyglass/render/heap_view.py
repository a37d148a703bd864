"""``spyglass memory``: what the runtime says of its memory, and who allocated it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.analysis.heap_sites import HeapSite, heap_sites
from spyglass.escape import visible
from spyglass.heap_profile import HeapProfile
from spyglass.render.cropping import function_in, tail_in
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.units import UNKNOWN, count, size

__all__ = ["profile_lines"]

#: Lines of a terminal that are no rows: facts, title, remark, prompt.
_OTHER_LINES = 10

_AS_OF = {
    "gc": "as of the last complete garbage collection",
    "now": "as of now",
}


def profile_lines(profile: HeapProfile, view: View) -> Iterator[Text]:
    """The lines about the allocation samples of `profile`."""
    sites = heap_sites(profile)
    if not profile.rate_bytes:
        yield from section("samples", [Text(f"none: {profile.why_not or UNKNOWN}")], view.width)
        return
    facts = [
        fact("in use", size(sum(site.in_use_bytes for site in sites)), "bold"),
        fact("allocated", size(sum(site.allocated_bytes for site in sites))),
        fact("one in", size(profile.rate_bytes)),
        Text(_AS_OF[profile.as_of]),
    ]
    yield from section("samples", facts, view.width)
    shown = sites[: view.rows_shown(_OTHER_LINES)]
    if not shown:
        return
    yield Text()
    yield from table(_columns(shown), view.width, styled=view.styled)
    if left := len(sites) - len(shown):
        yield Text(f"{count(left)} more, --all shows them", "dim")


def _columns(sites: Sequence[HeapSite]) -> list[Column]:
    return [
        Column("in use", [size(site.in_use_bytes) for site in sites], right=True),
        Column("objects", [count(site.in_use_objects) for site in sites], right=True),
        Column("allocated", [size(site.allocated_bytes) for site in sites], right=True),
        Column("where", [_where(site) for site in sites], weight=3, fit=function_in),
        Column("by", [visible(site.call or "") for site in sites], weight=2, fit=function_in),
        Column("line", [_line(site) for site in sites], weight=2, fit=tail_in, from_width=120),
    ]


def _where(site: HeapSite) -> str:
    return visible(site.where.function) if site.where is not None else "the runtime"


def _line(site: HeapSite) -> str:
    frame = site.where
    if frame is None or frame.file is None:
        return ""
    return visible(f"{frame.file}:{frame.line}")
