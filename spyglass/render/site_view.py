"""``spyglass memory --block`` and ``--mutex``: where goroutines waited, or made others wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.analysis.site_places import SitePlace, site_places
from spyglass.escape import visible
from spyglass.render.cropping import function_in, tail_in
from spyglass.render.process_sections import program_lines
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.site_profile import SiteProfile
from spyglass.words.amounts import amount_text, kind_title
from spyglass.words.units import count

__all__ = ["render"]

#: Lines of a terminal that are no rows: facts, title, remark, prompt.
_OTHER_LINES = 8

_Row = tuple[SitePlace, tuple[int, ...]]


def render(profile: SiteProfile, view: View) -> Iterator[Text]:
    """The program, and the places of `profile`, the one with the largest main number first."""
    yield from program_lines(profile.process, view.width, verbose=view.verbose)
    sums = profile.amounts.sum(axis=0).tolist()
    facts = [
        fact(kind_title(kind), amount_text(kind, total), "bold")
        for kind, total in reversed(list(zip(profile.kinds, sums, strict=True)))
    ]
    yield from section("samples", facts if len(profile) else [Text("none")], view.width)
    if profile.remark:
        yield from section("", [Text(visible(profile.remark))], None)
    rows = _rows(profile)
    shown = rows[: view.rows_shown(_OTHER_LINES)]
    if not shown:
        return
    yield Text()
    yield from table(_columns(profile, shown), view.width, styled=view.styled)
    if left := len(rows) - len(shown):
        yield Text(f"{count(left)} more, --all shows them", "dim")


def _rows(profile: SiteProfile) -> list[_Row]:
    """The sums of each place."""
    places = site_places(profile, profile.process.module)
    sums: dict[SitePlace, list[int]] = defaultdict(lambda: [0] * len(profile.kinds))
    for stack, amounts in zip(profile.stack.tolist(), profile.amounts.tolist(), strict=True):
        known = sums[places[stack]]
        sums[places[stack]] = [a + b for a, b in zip(known, amounts, strict=True)]
    rows = [(place, tuple(amounts)) for place, amounts in sums.items()]
    return sorted(rows, key=lambda row: (-row[1][-1], row[0].where))


def _columns(profile: SiteProfile, rows: Sequence[_Row]) -> list[Column]:
    numbers = [
        Column(kind_title(kind), [amount_text(kind, row[1][at]) for row in rows], right=True)
        for at, kind in reversed(list(enumerate(profile.kinds)))
    ]
    where = [visible(place.where or "the runtime") for place, _ in rows]
    calls = [visible(place.call or "") for place, _ in rows]
    lines = [visible(f"{place.file}:{place.line}") if place.file else "" for place, _ in rows]
    return [
        *numbers,
        Column("where", where, weight=3, fit=function_in),
        Column("by", calls, weight=2, fit=function_in),
        Column("line", lines, weight=2, fit=tail_in, from_width=120),
    ]
