"""``spyglass diff``: the changes from one snapshot to another, largest growth first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from spyglass.analysis.memory_parts import PART_WORDS
from spyglass.analysis.metric_changes import (
    Changes,
    memory_changes,
    resident_changes,
    scheduler_changes,
    thread_changes,
)
from spyglass.analysis.snapshot_diff import Difference, Growth
from spyglass.escape import visible
from spyglass.model import Snapshot
from spyglass.render.cropping import cropped, function_in, location_in
from spyglass.render.group_blocks import stack_lines
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.calls import call_text, location_text
from spyglass.words.population import Population
from spyglass.words.sparkline import sparkline
from spyglass.words.units import UNKNOWN, count, duration, moment, signed, size

__all__ = ["render"]

#: Creators that are shown on a terminal, to leave room for stacks.
_CREATORS_SHOWN = 6


def render(found: Difference, view: View) -> Iterator[Text]:
    """The lines of `found`; on a terminal at most its height, but at least one stack."""
    lines = [*_facts(found, view.width), Text(), *_creators(found, view)]
    yield from lines
    yield from _stacks(found, view, _room(view) - len(lines))


def _room(view: View) -> int:
    return sys.maxsize if view.height is None or view.everything else view.height - 1


def _facts(found: Difference, width: int | None) -> Iterator[Text]:
    first, last = found.first, found.last
    process = last.process
    program = [Text(visible(process.exe or process.module or UNKNOWN), "bold")]
    program += [fact("pid", str(process.pid)), Text(visible(process.go_version or "Go ?"))]
    yield from section("program", program, width)
    yield from section("compared", list(_compared(found)), width)
    yield from section("goroutines", list(_totals(found)), width)
    for label, changes, words in (
        ("scheduler", _without_totals(scheduler_changes(first, last)), _words),
        ("threads", thread_changes(first, last), _words),
        ("memory", memory_changes(first, last), _memory_words),
    ):
        yield from section(label, _changed(changes, words), width)
    yield from section("resident", list(_resident(resident_changes(first, last))), width)


def _compared(found: Difference) -> Iterator[Text]:
    """The first and the last snapshot, the number between them, and the time between them."""
    yield _taken(found.first)
    if between := len(found.snapshots) - 2:
        yield Text(f"{count(between)} more")
    yield _taken(found.last)
    yield fact("interval", duration(found.elapsed_ns), "bold")


def _taken(snapshot: Snapshot) -> Text:
    name = f"process {snapshot.process.pid}" if snapshot.file is None else snapshot.file
    return fact(visible(name), moment(snapshot.taken_at))


def _totals(found: Difference) -> Iterator[Text]:
    change = found.counts[-1] - found.counts[0]
    yield fact("before", str(Population.listed(found.first)))
    yield fact("after", str(Population.listed(found.last)), "bold")
    yield fact("change", signed(change), _style(change))
    yield fact("per minute", _rate(found, change))
    if len(found.counts) > 2:
        yield Text(sparkline(found.counts, from_zero=True))
    for name, rows in (
        ("created", found.created),
        ("exited", found.exited),
        ("stuck", found.stuck),
    ):
        yield fact(name, UNKNOWN if rows is None else count(len(rows)))


def _without_totals(changes: Changes) -> Changes:
    """`changes` of the scheduler without its counters of goroutines, which are counted by rows above."""
    return {
        name: change
        for name, change in changes.items()
        if name not in ("goroutines", "system_goroutines")
    }


def _resident(changes: Changes) -> Iterator[Text]:
    words = {"rss": "sum"} | {str(name): text for name, text in PART_WORDS.items()}
    for name, (before, after) in changes.items():
        sign = "+" if after > before else "-"
        text = f"{size(before)} → {size(after)} ({sign}{size(abs(after - before))})"
        yield fact(words[name], text, "bold" if name == "rss" else "")


def _changed(changes: Changes, words: Callable[[str, Any], tuple[str, str]]) -> list[Text]:
    facts = []
    for name, (before, after) in changes.items():
        title, then = words(name, before)
        facts.append(fact(visible(title), f"{then} → {words(name, after)[1]}"))
    return facts


def _words(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return name.replace("_", " "), "yes" if value else "no"
    return name.replace("_", " "), count(value)


def _memory_words(name: str, value: Any) -> tuple[str, str]:
    """The name of a figure without its unit, and the value with its unit."""
    title, _, unit = name.replace("_", " ").rpartition(" ")
    if unit == "at":
        return title, moment(value) if isinstance(value, datetime) else UNKNOWN
    if unit == "percent":
        return title, "off" if value == -1 else count(value)
    words = {"bytes": size, "ns": duration}.get(unit)
    return (title, words(value)) if words else (f"{title} {unit}", count(value))


def _rate(found: Difference, change: int) -> str:
    rate = found.per_minute(change)
    if rate is None:
        return UNKNOWN
    if not change:
        return "0"
    return f"{rate:+,.1f}" if abs(rate) < 100 else f"{rate:+,.0f}"


def _style(change: int) -> str:
    return "bold red" if change > 0 else "green" if change < 0 else ""


def _wanted(growths: Sequence[Growth], view: View) -> list[Growth]:
    """The groups that changed; all groups with `View.everything`."""
    return [each for each in growths if view.everything or each.difference]


def _left_out(number: int, what: str, view: View) -> Iterator[Text]:
    if number > 0:
        words = f"… and {count(number)} more {what}; --all shows them"
        yield Text(words if view.width is None else cropped(words, view.width), "dim")


def _creators(found: Difference, view: View) -> Iterator[Text]:
    """A table of the creators."""
    wanted = _wanted(found.by_creator, view)
    most = len(wanted) if _room(view) == sys.maxsize else _CREATORS_SHOWN
    shown = wanted[: view.limit or most]
    if not shown:
        yield Text("no creator has more or fewer goroutines than before", "dim")
    else:
        yield from table(_columns(found, shown), view.width, styled=view.styled)
        yield from _left_out(len(wanted) - len(shown), "creators", view)
    yield Text()


def _columns(found: Difference, growths: Sequence[Growth]) -> list[Column]:
    creators = [
        each.snapshot.frame(int(each.snapshot.goroutines.creator[each.row])) for each in growths
    ]
    series = [Column("trend", [sparkline(each.counts, from_zero=True) for each in growths])]
    return [
        Column("change", [signed(each.difference) for each in growths], right=True, style=_cell_style),
        Column("per minute", [_rate(found, each.difference) for each in growths], right=True),
        Column("before", [count(each.counts[0]) for each in growths], right=True),
        Column("after", [count(each.counts[-1]) for each in growths], right=True),
        *(series if len(found.snapshots) > 2 else []),
        Column("stuck", [count(each.stuck) for each in growths], right=True),
        Column(
            "created by", [call_text(c) if c else "-" for c in creators], weight=5, fit=function_in
        ),
        Column(
            "at", [location_text(c) if c else "-" for c in creators], weight=4, fit=location_in, style="dim"
        ),
    ]  # fmt: skip


def _cell_style(cell: str) -> str:
    return _style({"+": 1, "-": -1}.get(cell[:1], 0))


def _stacks(found: Difference, view: View, room: int) -> Iterator[Text]:
    """A block for each stack, and an empty line after it."""
    wanted = _wanted(found.by_stack, view)[: view.limit]
    if not wanted:
        yield Text("no stack has more or fewer goroutines than before", "dim")
    for number, growth in enumerate(wanted):
        block = [*_block(found, growth, view.width), Text()]
        room -= len(block)
        if number and room < 1:  # keep a line for _left_out
            yield from _left_out(len(wanted) - number, "stacks", view)
            return
        yield from block


def _block(found: Difference, growth: Growth, width: int | None) -> Iterator[Text]:
    facts = [fact("before", count(growth.counts[0])), fact("after", count(growth.counts[-1]))]
    facts.append(fact("per minute", _rate(found, growth.difference)))
    if len(growth.counts) > 2:
        facts.append(Text(sparkline(growth.counts, from_zero=True)))
    changed = (("created", growth.created), ("exited", growth.exited))
    facts += [fact(name, count(number)) for name, number in changed if number]
    if growth.stuck:
        facts.append(
            fact("stuck", f"{count(growth.stuck)}, up to {duration(growth.longest_stuck_ns)}")
        )
    if growth.never:
        facts.append(fact("can never be woken", count(growth.never), "bold red"))
    facts += _location(growth)
    lines = list(section(signed(growth.difference), facts, width))
    lines[0].stylize(_style(growth.difference), 0, len(signed(growth.difference)))
    yield from lines
    yield from stack_lines(growth.snapshot, growth.row, width)


def _location(growth: Growth) -> list[Text]:
    """The user's function and the call in it, if the stack does not begin with that function."""
    snapshot, g = growth.snapshot, growth.snapshot.goroutines
    where, call = (snapshot.frame(int(column[growth.row])) for column in (g.where, g.call))
    if where is None or call is None:
        return []
    return [fact("at", call_text(where)), fact("in", call_text(call))]
