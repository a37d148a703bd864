"""What views of the page show of one process: elements as in a report, and the data that its script reads.

The documents are for the page of the same version alone; nothing else is to rely on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.memory_limits import MemoryLimit, MemoryLimits
from spyglass.report.markup import Markup, element, joined
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.elements import elements
from spyglass.serve.operations import Answer, json_answer
from spyglass.words.memory_limits import limit_text
from spyglass.words.units import UNKNOWN, count, size

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.profile import Profile

__all__ = ["goroutines", "heap", "memory", "profile", "program", "waits"]

Values = Mapping[str, Any]

#: How long processor time is watched for the view of the program.
_WATCH_SECONDS = 0.2


def goroutines(program: Inspector, _values: Values) -> Answer:
    """All goroutines, with filters, groups, stacks, and a flame graph."""
    from spyglass.report.page_data import report_data
    from spyglass.report.template import asset

    taken = program.snapshot("full")
    return _part(Markup(asset("goroutines.html")), taken, report_data(taken))


def waits(program: Inspector, values: Values) -> Answer:
    """What goroutines wait on, with drawings of knots."""
    from spyglass.report.page_waits import waits_section

    taken = program.snapshot("full", waits=WaitOptions(heap=values["heap"]))
    return _part(joined(waits_section(taken)), taken, {})


def program(program: Inspector, _values: Values) -> Answer:
    """The program, its scheduler and its threads."""
    from spyglass.report.page_data import list_data
    from spyglass.report.page_facts import program as program_facts
    from spyglass.report.page_facts import scheduler

    taken = program.snapshot("top", watch=_WATCH_SECONDS)
    problems = (
        "Missing or doubtful parts of this reading. A running program can change while it is read."
    )
    sections = joined(
        _section("program", "Program", program_facts(taken)),
        _section("scheduler", "Scheduler", scheduler(taken), _table("processor-table")),
        _section("threads", "Threads", _table("thread-table")),
        _section("problems", "Problems", _table("problem-table", problems)),
    )
    return _part(sections, taken, list_data(taken))


def memory(program: Inspector, _values: Values) -> Answer:
    """What resident memory is of, and the limits of it."""
    from spyglass.report.page_facts import memory as memory_facts
    from spyglass.report.page_memory import account_card

    taken = program.with_account(program.snapshot("top"))
    limits = taken.limits if taken.account is None else taken.account.limits
    cards = joined(account_card(taken.account), _limits_card(limits), memory_facts(taken))
    return _part(cards, taken, {"limits": [] if limits is None else [*_limits(limits)]})


def heap(program: Inspector, _values: Values) -> Answer:
    """The flame graph of the heap profile."""
    from spyglass.report.page_memory import heap_section
    from spyglass.report.site_page import site_data

    profile = program.heap_profile()
    if profile.why_not is not None:
        raise SpyglassError(f"there is no heap profile: {profile.why_not}")
    sites = profile.by_site()
    return json_answer({"elements": elements(heap_section(sites)), "data": site_data(sites)})


def profile(profile: Profile) -> Answer:
    """The flame graph, the functions and the account of a recorded profile."""
    from spyglass.report.page_profiles import profile_sections
    from spyglass.report.profile_data import profile_data

    section = elements(profile_sections([profile]))
    return json_answer(
        {"elements": section, "data": profile_data(profile), "prefix": f"{profile.mode}-"}
    )


def _part(markup: Markup, snapshot: Snapshot, data: dict[str, Any]) -> Answer:
    from spyglass.report.page_facts import taken

    return json_answer({"elements": elements(markup), "taken": taken(snapshot), "data": data})


def _section(name: str, title: str, *contents: Markup) -> Markup:
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *contents, id=name, aria_labelledby=f"{name}-title")


def _table(name: str, words: str | None = None) -> Markup:
    """Where the script puts a table."""
    above = None if words is None else element("p", words, class_="muted")
    return element("div", above, element("div", id=name), class_="card")


def _limits(limits: MemoryLimits) -> Iterator[dict[str, Any]]:
    """The limits that graphs can draw: those of the process's own memory."""
    for row in limits.rows:
        if row.bytes is not None and row.kind in ("cgroup", "gomemlimit"):
            yield {"words": visible(limit_text(limits, row)), "bytes": row.bytes}


def _limits_card(limits: MemoryLimits | None) -> Markup | None:
    """A table of the limits of memory."""
    if limits is None or not limits.rows:
        return None
    of, *numbers = _LIMIT_TITLES
    titles = (element("th", each, scope="col", class_="number") for each in numbers)
    head = element("tr", element("th", of, scope="col"), *titles)
    rows = [element("tr", *_cells(limits, row)) for row in limits.rows]
    table = element(
        "table",
        element("caption", "Limits of memory"),
        element("thead", head),
        element("tbody", *rows),
    )
    return element("div", element("div", table, class_="scroll"), class_="card limits")


_LIMIT_TITLES = ("Of", "Limit", "Used", "Left")


def _cells(limits: MemoryLimits, row: MemoryLimit) -> Sequence[Markup]:
    numbers = (row.bytes, row.used_bytes, row.headroom_bytes)
    words = limit_text(limits, row)
    past = [f"met {count(row.hits)} times"] if row.hits else []
    past += [f"{count(row.oom_kills)} killed"] if row.oom_kills else []
    name = ": ".join(filter(None, [words, ", ".join(past)]))
    texts = ["none" if row.bytes is None else size(row.bytes), *map(_size, numbers[1:])]
    return [
        element("th", visible(name), scope="row"),
        *(element("td", text, class_="number") for text in texts),
    ]


def _size(number: int | None) -> str:
    return UNKNOWN if number is None else size(number)
