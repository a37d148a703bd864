"""The pages of text: the keys, all findings, the problems of the snapshot, and why a filter matches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.text import Text

from spyglass.analysis.findings import Finding
from spyglass.analysis.no_match import no_match
from spyglass.analysis.selection import selected
from spyglass.model import Problem, Snapshot
from spyglass.render.findings import finding_lines
from spyglass.tui.group_rows import Question
from spyglass.tui.layout import Style
from spyglass.words.units import plural

__all__ = ["all_findings", "help_lines", "no_match_lines", "problem_lines"]

#: Problems are counted by the header and listed up to this number.
_LISTED = 1000

_HELP = """\
Enter    open: the goroutines of a group, the stack of a goroutine
Esc      back; clear the filter
g  G     group by function, stack, creator, state, each label;  G  backwards
/        filter: a regular expression for any function of a stack, and any of
         state:WORDS  label:KEY=VALUE  creator:REGEX  (quote values with spaces)
<  >     sort by the next column;  i  reverse the order
w        what goroutines wait on, and who holds it; on the page of a goroutine
         Enter on another goroutine, such as a holder, opens that one
c        functions by processor time in the last seconds; Enter: who calls one,
         and which goroutines run it;  C  processor time of groups, a column
t        threads (Ms) and Ps;  S  runtime goroutines;  r  frames of the runtime
m        memory over time, with the limit
f        findings: what is unusual, with the next command to run;  !  problems
p        pause, resume;  Space  read now;  b  set base;  + -  interval
s  e     save a snapshot, or write an HTML report, in the current directory
Left Right   the previous or next snapshot of a series
mouse    click a row to select it, again to open it; click a title to sort
q        quit

Δ1s      change since the previous refresh;  Δstart  since the start
         (Δbase: since key b)
▲        growing at most refreshes and never shrinking: a possible leak
oldest   the longest wait;  median  half of the goroutines wait as long;  ≥12s  a
         lower bound: Go timestamps waits only at GC;  seen 12s  no longer time
         from Go, but top saw the same wait at each refresh for 12 s
where    the user's function, or the (start) function;  call  what it called
         A cell names what is true of all goroutines of a group, else says
         how many there are: 3 functions, 2 states
differs at   the frames (#0: innermost) at which stacks that end in the same
         function differ; if there are several, also one of the goroutines
cpu      of one processor, of goroutines that a sample's stack proves; the line
         "not in groups" has the rest;  self  in the function itself,  total
         with what it calls,  trend  total in each of the last ten seconds
[R.S]    Ps: R running, . idle, S in a system call;  queues  of each P
"""


def help_lines(style: Style) -> Sequence[Text]:
    """The keys, and what the columns mean."""
    text = _HELP
    if style.ascii_only:
        text = text.replace("▲", "^").replace("Δ", "+/-").replace("≥", ">=")
    return list(map(Text, text.splitlines()))


def all_findings(found: Sequence[Finding], style: Style) -> Sequence[Text]:
    """All findings, each with its next command."""
    return list(finding_lines(found, style.width))


def no_match_lines(snapshot: Snapshot, question: Question, style: Style) -> Sequence[Text]:
    """Why no goroutine matches the filter of `question`, and what there is instead."""
    rows = selected(snapshot.goroutines, system=question.system)
    return _wrapped(no_match(snapshot, rows, question.query.filter), style)


def problem_lines(problems: Sequence[Problem], style: Style) -> Sequence[Text]:
    """The problems, each in as many lines as it takes."""
    return list(_problem_lines(problems, style))


def _problem_lines(problems: Sequence[Problem], style: Style) -> Iterator[Text]:
    if not problems:
        yield Text("no problems: nothing is missing or doubtful")
    for each in problems[:_LISTED]:
        yield from _wrapped(f"{each.kind}: {each.subject}: {each.detail}", style)
    if len(problems) > _LISTED:
        yield Text(f"... and {plural(len(problems) - _LISTED, 'more problem')}")


def _wrapped(text: str, style: Style) -> list[Text]:
    text = style.text(text)
    width = max(style.width or len(text), 10)
    return list(map(Text, wrap(text, width, subsequent_indent="    ")))
