"""What commands show of one process, as answers: each function reads an `Inspector` and is called in a thread."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from spyglass.analysis.filters import Filter
from spyglass.analysis.goroutine_filter import GoroutineFilter
from spyglass.analysis.subset import part, subset
from spyglass.errors import NoMatch
from spyglass.formats import exporter
from spyglass.procfs import read_cpu
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.operations import JSON, Answer, json_answer, written
from spyglass.serve.parameters import choice, flag, integer, span, text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot

__all__ = [
    "FILTERS", "GROUPS", "HEAP", "LIST", "MEMORY", "PAGE_POLICY", "REDACT", "SUMMARY", "WAITS",
    "goroutine", "goroutines", "groups", "memory", "report", "snapshot", "summary", "threads", "waits", "wanted", "without_goroutines",
]  # fmt: skip

Values = Mapping[str, Any]

_MAX_ID = (1 << 63) - 1
#: How long processor time is watched for a summary.
_WATCH_SECONDS = 0.1
_NOTHING = np.zeros(0, np.int64)
_TEXT = "text/plain; charset=utf-8"
#: A report has scripts, with names out of the target beside them: it gets an origin of its own, without the cookie.
PAGE_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"

FILTERS = (
    text("state", "Only goroutines with this in their status or wait reason; any of several.", repeats=True),
    text("function", "Only goroutines with this in the name of a function on their stack."),
    text("creator", "Only goroutines with this in the name of the function that created them."),
    text("label", "Only goroutines with this pprof label, KEY=VALUE; all of several.", repeats=True),
    span("min_wait", "Only goroutines that wait for at least so long, such as 5m.", 0, 1e9),
    integer("goroutine", "Only goroutines with this id; any of several.", 1, _MAX_ID, repeats=True),
    flag("system", "With goroutines of the runtime."),
)  # fmt: skip
HEAP = flag("heap", "Look through the heap for goroutines that nothing can wake.")
REDACT = flag(
    "redact",
    "Without command line, labels, host name, container, addresses of connections, directories.",
)
SUMMARY = (span("watch", "Watch the scheduler for so long first.", 0.1, 10),)
LIST = (
    *FILTERS,
    integer("limit", "How many goroutines a page has.", 1, 10_000, default=100),
    integer("after", "Only goroutines with a greater id; the header Link names the next page.", 0, _MAX_ID, default=0),
    choice("format", "json: a snapshot; text: as Go's traceback; folded: stacks for flame graphs.",
           ("json", "text", "folded"), default="json"),
)  # fmt: skip
GROUPS = (
    *FILTERS,
    text("by", "function, stack, creator, state, or label:KEY."),
    integer("limit", "How many groups.", 1, 1000, default=50),
)
MEMORY = (flag("heap", "With the totals of the heap profile."),)
WAITS = (*FILTERS, HEAP, flag("stuck", "Only goroutines that nothing can wake; reads the heap."))


def wanted(values: Values) -> GoroutineFilter:
    """The filter that the parameters `FILTERS` say. Names are compared as text: a regular expression could take for ever."""
    labels = [each.partition("=") for each in values["label"]]
    criteria = Filter(
        ids=values["goroutine"],
        states=values["state"],
        function=_containing(values["function"]),
        creator=_containing(values["creator"]),
        labels=tuple((key, value) for key, _, value in labels),
        min_wait_ns=values["min_wait"],
    )
    return GoroutineFilter(criteria, values["system"] or None, None)


def summary(program: Inspector, values: Values) -> Answer:
    """Findings, process, scheduler and memory: a snapshot without its goroutines, which are counted."""
    from spyglass.analysis.findings.worth_reading import worth_reading

    options = WaitOptions.of_summary(when=worth_reading)
    if values["watch"] is not None:
        taken = program.snapshot("top", waits=options, watch=values["watch"] / 1e9)
    else:
        since = read_cpu(values["pid"])
        time.sleep(_WATCH_SECONDS)
        taken = program.snapshot("top", waits=options, cpu_since=since)
    return without_goroutines(taken)


def goroutines(program: Inspector, values: Values) -> Answer:
    """The goroutines that match, by id, `limit` of them."""
    taken, asked = program.snapshot("full"), wanted(values)
    rows = asked.rows(taken, system=False)
    asked.require_match(taken, len(rows), system=False)
    ids = taken.goroutines.id[rows]
    order = np.argsort(ids, kind="stable")
    page = rows[order[ids[order] > values["after"]]]
    shown = page[: values["limit"]]
    headers = {}
    if len(page) > len(shown):
        headers["link"] = f'<{_next_page(values, int(taken.goroutines.id[shown[-1]]))}>; rel="next"'
    return _in_format(taken, shown, values["format"], headers)


def goroutine(program: Inspector, values: Values) -> Answer:
    """One goroutine, with its stack, what it waits on and who holds that."""
    taken = program.snapshot("full", waits=WaitOptions(heap=False))
    rows = np.flatnonzero(taken.goroutines.id == np.uint64(values["number"]))
    if not len(rows):
        raise NoMatch(f"there is no goroutine {values['number']}", "it may have ended")
    return _in_format(taken, rows[:1], values["format"], {})


def groups(program: Inspector, values: Values) -> Answer:
    """Goroutines in groups, the largest first: a line of ``spyglass.top/1``."""
    from spyglass.serve.live import Frames

    frames = Frames(values, compares=False)
    stop = values.get("stop", False)
    taken = program.snapshot("full" if frames.needs_stacks else "top", stop=stop)
    return Answer(frames.line(taken))


def threads(program: Inspector, values: Values) -> Answer:
    """The threads, what each runs, and its stack: a snapshot without goroutines."""
    return without_goroutines(program.snapshot("full", thread_stacks=True))


def waits(program: Inspector, values: Values) -> Answer:
    """What goroutines wait on, who holds it, and with `heap` which goroutines nothing can wake."""
    from spyglass.analysis.wait_verdicts import verdicts
    from spyglass.analysis.wait_view import wait_view

    asked, stuck = wanted(values), values["stuck"]
    taken = program.snapshot("full", waits=WaitOptions(heap=values["heap"] or stuck))
    known = verdicts(taken)
    assert known is not None
    rows = asked.rows(taken, system=True)
    asked.require_match(taken, len(rows), system=True)
    chosen = taken.goroutines.id[rows]
    if stuck:
        chosen = chosen[np.isin(chosen, known.ids[known.stuck == 1])]
    view = wait_view(known, chosen, is_part=bool(asked.criteria) or stuck)
    return Answer(written(partial(exporter("waits", "json").write, view)))


def memory(program: Inspector, values: Values) -> Answer:
    """What ``spyglass memory`` shows, with `heap` the totals of the heap profile too."""
    from spyglass.analysis.memory_view import memory_view

    profile = program.heap_profile() if values["heap"] else None
    view = memory_view(program.snapshot("top"), program.memory_account(), profile)
    return Answer(written(partial(exporter("memory", "json").write, view)))


def snapshot(program: Inspector, values: Values) -> Answer:
    """The file that ``spyglass snapshot`` saves."""
    from spyglass.export.snapshot_file import default_name

    taken = _to_keep(program, values)
    body = written(partial(exporter("snapshot", "json.gz").write, taken))
    return Answer(body, "application/gzip", default_name(taken))


def report(program: Inspector, values: Values) -> Answer:
    """The page that ``spyglass report`` writes."""
    taken = _to_keep(program, values)
    body = written(partial(exporter("snapshot", "html").write, taken))
    return Answer(
        body, "text/html; charset=utf-8", headers={"content-security-policy": PAGE_POLICY}
    )


def _to_keep(program: Inspector, values: Values) -> Snapshot:
    taken = program.snapshot("full", waits=WaitOptions(heap=values["heap"]))
    taken = program.with_account(taken)
    if values["redact"]:
        from spyglass.analysis.redaction import redacted

        return redacted(taken)
    return taken


def _containing(part_of_name: str | None) -> re.Pattern[str] | None:
    return None if part_of_name is None else re.compile(re.escape(part_of_name))


def without_goroutines(taken: Snapshot) -> Answer:
    """The document of `taken` without its goroutines, but with the findings about them."""
    from spyglass.analysis.findings import written_findings
    from spyglass.export.plain_values import record
    from spyglass.export.snapshot_document import header

    findings = [record(finding) for finding in written_findings(taken)]
    return json_answer(header(subset(taken, _NOTHING)) | {"findings": findings})


def _in_format(
    taken: Snapshot, rows: NDArray[np.int64], name: str, headers: Mapping[str, str]
) -> Answer:
    if name == "text":
        from spyglass.render.traceback import traceback

        return Answer("".join(traceback(taken, rows)).encode(), _TEXT, headers=headers)
    body = written(partial(exporter("snapshot", name).write, part(taken, rows)))
    return Answer(body, JSON if name == "json" else _TEXT, headers=headers)


def _next_page(values: Values, after: int) -> str:
    """The query of the page behind goroutine `after`."""
    given: list[tuple[str, Any]] = [
        ("after", after),
        ("limit", values["limit"]),
        ("format", values["format"]),
    ]
    for name in ("state", "label", "goroutine"):
        given += [(name, each) for each in values[name]]
    given += [(name, values[name]) for name in ("function", "creator") if values[name] is not None]
    if values["min_wait"] is not None:
        given.append(("min_wait", f"{values['min_wait']}ns"))
    if values["system"]:
        given.append(("system", "true"))
    return "?" + urlencode(given)
