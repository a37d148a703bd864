"""``spyglass diff`` of two profiles: what takes more time per second of recording, by function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.analysis.profile_diff import FunctionChange, ProfileDifference
from spyglass.escape import visible
from spyglass.profile import Profile
from spyglass.render.cropping import function_in
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.profile_account import MODE_WORDS, coverage_text, seconds_text
from spyglass.words.units import UNKNOWN, count, moment, plural

__all__ = ["render"]

#: Lines of a terminal that are no rows: facts, title, remark, prompt.
_OTHER_LINES = 8


def render(found: ProfileDifference, view: View) -> Iterator[Text]:
    """The lines of `found`: functions whose time changed, of which the change is no chance; all with
    ``view.everything``."""
    process = found.after.process
    program = [Text(visible(process.exe or process.module or UNKNOWN), "bold")]
    program.append(Text(MODE_WORDS[found.after.mode]))
    yield from section("program", program, view.width)
    for label, profile in (("before", found.before), ("after", found.after)):
        yield from section(label, list(_recording(profile)), view.width)
    whole = found.whole
    words = f"{_rate(whole.before)} before, {_rate(whole.after)} after, {_change(whole.change)}"
    yield from section("time", [Text(words)], view.width)
    yield Text()
    rows = [each for each in found.functions if view.everything or each.is_sure]
    shown = rows[: view.rows_shown(_OTHER_LINES)]
    if shown:
        yield from table(_columns(shown), view.width, styled=view.styled)
    yield Text(_remark(found, rows, len(shown)), "dim")


def _recording(profile: Profile) -> Iterator[Text]:
    yield Text(moment(profile.started_at))
    yield fact("for", seconds_text(profile.duration_ns))
    yield fact("samples", count(profile.account.samples))
    if profile.mode == "cpu":
        yield fact("coverage", coverage_text(profile.account))


def _columns(rows: Sequence[FunctionChange]) -> list[Column]:
    numbers = (
        ("self", [_rate(row.itself.after) for row in rows]),
        ("was", [_rate(row.itself.before) for row in rows]),
        ("change", [_change(row.itself.change, row.itself.is_sure) for row in rows]),
        ("total", [_rate(row.total.after) for row in rows]),
        ("was", [_rate(row.total.before) for row in rows]),
        ("change", [_change(row.total.change, row.total.is_sure) for row in rows]),
    )
    columns = [
        Column(title, cells, right=True, style=_style if title == "change" else "")
        for title, cells in numbers
    ]
    names = [visible(row.function) for row in rows]
    return [*columns, Column("function", names, weight=1, fit=function_in)]


def _style(cell: str) -> str:
    if cell.startswith(("~", "0")):
        return "dim"
    return "red" if cell.startswith("+") else "green"


def _rate(rate: float) -> str:
    """Milliseconds in a second: ``12.5``."""
    return f"{1000 * rate:,.1f}"


def _change(change: float, is_sure: bool = True) -> str:
    """A change in milliseconds per second; ``~`` marks one that may be chance."""
    if not change:
        return "0"
    return ("" if is_sure else "~") + f"{1000 * change:+,.1f}"


def _remark(found: ProfileDifference, rows: Sequence[FunctionChange], shown: int) -> str:
    words = "milliseconds per second of recording"
    if any(not each.is_sure and each.change for row in rows for each in (row.itself, row.total)):
        words += "; ~ may be chance"
    left = len(rows) - shown
    more = f"; {count(left)} more, --limit shows them" if left else ""
    same = len(found.functions) - len(rows)
    unsure = f"; {plural(same, 'function')} without a sure change, --all shows them" if same else ""
    return words + more + unsure
