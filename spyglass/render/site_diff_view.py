"""``spyglass diff`` of two heap, block or mutex profiles: what grew, by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.analysis.site_diff import SiteChange, SiteDifference
from spyglass.escape import visible
from spyglass.render.cropping import function_in
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.amounts import KIND_WORDS, amount_text, change_text, kind_title, sites_line
from spyglass.words.units import UNKNOWN, count, plural

__all__ = ["render"]

#: Lines of a terminal that are no rows: facts, title, remark, prompt.
_OTHER_LINES = 11


def render(found: SiteDifference, view: View) -> Iterator[Text]:
    """The lines of `found`: places whose main number changed, of which the change is no chance; all with
    ``view.everything``."""
    process = found.after.process
    program = [Text(visible(process.exe or process.module or UNKNOWN), "bold")]
    program.append(Text(KIND_WORDS[found.after.kind]))
    yield from section("program", program, view.width)
    for label, profile in (("before", found.before), ("after", found.after)):
        yield from section(label, [Text(visible(sites_line(profile)))], view.width)
        if profile.remark:
            yield from section("", [Text(visible(profile.remark), "dim")], view.width)
    yield from section("change", list(_whole(found)), view.width)
    yield Text()
    rows = [each for each in found.sites if view.everything or _is_shown(each)]
    shown = rows[: view.rows_shown(_OTHER_LINES)]
    if shown:
        yield from table(_columns(found, shown), view.width, styled=view.styled)
    if remark := _remark(found, rows, len(shown)):
        yield Text(remark, "dim")


def _is_shown(site: SiteChange) -> bool:
    return bool(site.amounts.change(-1)) and site.amounts.is_sure


def _whole(found: SiteDifference) -> Iterator[Text]:
    for at, kind in reversed(list(enumerate(found.kinds))):
        yield fact(kind_title(kind), change_text(kind, found.whole.change(at)))


def _columns(found: SiteDifference, rows: Sequence[SiteChange]) -> list[Column]:
    main, last = found.kinds[-1], len(found.kinds) - 1
    others = [(at, kind) for at, kind in enumerate(found.kinds) if at != last]
    changes = [_change(found, row) for row in rows]
    columns = [
        Column("change", changes, right=True, style=_style),
        Column(
            kind_title(main), [amount_text(main, row.amounts.after[-1]) for row in rows], right=True
        ),
        Column("was", [amount_text(main, row.amounts.before[-1]) for row in rows], right=True),
    ]
    columns += [
        Column(
            kind_title(kind),
            [change_text(kind, row.amounts.change(at)) for row in rows],
            right=True,
            from_width=100,
        )
        for at, kind in others
    ]
    where = [visible(row.function or "the runtime") for row in rows]
    calls = [visible(row.call or "") for row in rows]
    return [
        *columns,
        Column("where", where, weight=3, fit=function_in),
        Column("by", calls, weight=2, fit=function_in),
    ]


def _change(found: SiteDifference, row: SiteChange) -> str:
    text = change_text(found.kinds[-1], row.amounts.change(-1))
    return text if row.amounts.is_sure or text == "0" else f"~{text}"


def _style(cell: str) -> str:
    if cell.startswith(("~", "0")):
        return "dim"
    return "red" if cell.startswith("+") else "green"


def _remark(found: SiteDifference, rows: Sequence[SiteChange], shown: int) -> str:
    parts = []
    if any(not row.amounts.is_sure for row in rows):
        parts.append("~ may be chance")
    if left := len(rows) - shown:
        parts.append(f"{count(left)} more, --limit shows them")
    if same := len(found.sites) - len(rows):
        parts.append(f"{plural(same, 'place')} without a sure change, --all shows them")
    return "; ".join(parts)
