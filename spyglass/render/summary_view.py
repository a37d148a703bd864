"""``spyglass summary``: a snapshot in one screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from spyglass.analysis.counts import by_status, by_wait_reason
from spyglass.analysis.findings import findings
from spyglass.analysis.groups import at_work_first, groups
from spyglass.analysis.selection import selected
from spyglass.analysis.waits import has_waits
from spyglass.model import Snapshot
from spyglass.render.cropping import cropped
from spyglass.render.findings import finding_lines
from spyglass.render.goroutine_table import Entries, GoroutineEntries, GroupEntries
from spyglass.render.problems import problem_lines
from spyglass.render.process_sections import (
    counted,
    cpu_lines,
    memory_lines,
    program_lines,
    saved_lines,
    scheduler_lines,
    thread_lines,
)
from spyglass.render.processors import processor_lines
from spyglass.render.sections import section
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.render.window_section import window_lines
from spyglass.words.population import Population

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["render"]

#: Up to this number, goroutines are listed one by one.
_FEW = 20

#: Rows of goroutines that are shown even if the terminal is too low for them.
_ROWS_AT_LEAST = 3

#: The minimum of lines for the table of Ps, with its titles.
_PS_AT_LEAST = 3

#: Rows of groups that wait, and the line that counts what is left out: not filled by groups at work.
_WAITS_AT_LEAST = 4

#: Rows of goroutines that have priority over a line for each P.
_ROWS_WANTED = 8

#: A terminal with fewer lines gets no empty line, and fewer findings.
_LOW = 30
#: Wait reasons that are shown by name.
_REASONS_SHOWN, _REASONS_SHOWN_LOW = 10, 4

#: The line of titles above the table, and the line of the shell's next prompt.
_TITLE_AND_PROMPT = 2


def render(snapshot: Snapshot, view: View) -> Iterator[Text]:
    """The lines of the summary of `snapshot`, at most as wide and, if possible, as many as the view allows."""
    rows = selected(snapshot.goroutines, system=view.system)
    above = [
        *saved_lines(snapshot, view.width),
        *finding_lines(findings(snapshot), view.width, low=_is_low(view)),
        *program_lines(snapshot.process, view.width, verbose=view.verbose),
        *cpu_lines(snapshot.cpu, snapshot.process.uptime_seconds, view.width),
        *scheduler_lines(snapshot, view.width, verbose=view.verbose),
        *window_lines(snapshot, view.width),
    ]
    below = [
        *(thread_lines(snapshot, view.width) if view.verbose else []),
        *memory_lines(snapshot, view.width, verbose=view.verbose),
        *_goroutine_lines(snapshot, rows, view),
        *([] if _is_low(view) else [Text()]),
    ]
    problems = list(problem_lines(snapshot.problems, view)) if view.debug else []
    room = _height(view) - len(above) - len(below) - len(problems) - _TITLE_AND_PROMPT
    processors = list(_processor_lines(snapshot, room, view)) if view.verbose else []
    room = max(room - len(processors), _ROWS_AT_LEAST)
    table_lines = _table(_entries(snapshot, rows, room, view), room, view)
    yield from chain(above, processors, below, table_lines, problems)


def _processor_lines(snapshot: Snapshot, room: int, view: View) -> Iterator[Text]:
    room = max(room - _ROWS_WANTED, _PS_AT_LEAST)
    return processor_lines(snapshot.processors, view.width, room, styled=view.styled)


def _height(view: View) -> int:
    return sys.maxsize if view.height is None or view.everything else view.height


def _is_low(view: View) -> bool:
    return _height(view) < _LOW


def _entries(snapshot: Snapshot, rows: NDArray[np.int64], room: int, view: View) -> Entries:
    """Groups, or goroutines one by one if there are few; groups at work first, and at least some of the
    others below them."""
    if view.listed or len(rows) <= min(_FEW, room):
        return GoroutineEntries(snapshot, rows, at_work_first=not view.listed)
    found = groups(snapshot, system=view.system)
    return GroupEntries(snapshot, at_work_first(found, max(room - _WAITS_AT_LEAST, 1)))


def _table(entries: Entries, room: int, view: View) -> Iterator[Text]:
    """A table of the first `entries`, at most `room` lines, and a line that counts the others."""
    if not entries:
        return
    number = len(entries) if len(entries) <= room else room - 1
    if view.limit is not None:
        number = min(number, view.limit)
    yield from table(entries.columns(number, view), view.width, styled=view.styled)
    if number < len(entries):
        hint = "" if number == view.limit else "; --all shows them"
        more = f"… and {entries.left_out(number)}{hint}"
        yield Text(more if view.width is None else cropped(more, view.width), "dim")


def _goroutine_lines(snapshot: Snapshot, rows: NDArray[np.int64], view: View) -> Iterator[Text]:
    """The number of goroutines, and how many of `rows` have each status and each wait reason."""
    found, whole = Population.listed(snapshot), Population.whole(snapshot)
    facts = [Text(f"{found.out_of(whole)}{'' if found.is_all(whole) else ' match'}", "bold")]
    facts += counted(by_status(snapshot, rows).items())
    yield from section("goroutines", facts, view.width)
    reasons = list(by_wait_reason(snapshot, rows).items())
    most = _REASONS_SHOWN_LOW if _is_low(view) else _REASONS_SHOWN
    if view.width is not None and len(reasons) > most:
        others = sum(number for _, number in reasons[most:])
        reasons = [*reasons[:most], ("others", others)]
    facts = counted(reasons)
    if reasons and not has_waits(snapshot, rows):
        facts.append(Text(_no_times(snapshot), "dim"))
    yield from section("waiting", facts, view.width)


def _no_times(snapshot: Snapshot) -> str:
    # Go's first collection notes none: it counts from the one before (`spyglass.runtime.goroutines.waits`).
    if snapshot.memory.gc_count in (0, 1):
        return "(no times before the second GC)"
    return "(times not known)"
