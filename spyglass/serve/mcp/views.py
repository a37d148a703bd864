"""What tools show of a process or of a saved snapshot: the documents and texts of the commands, a page of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.heap_sites import heap_sites
from spyglass.analysis.memory_view import memory_view
from spyglass.analysis.profile_functions import function_times
from spyglass.analysis.subset import part
from spyglass.analysis.wait_verdicts import verdicts
from spyglass.analysis.wait_view import wait_view
from spyglass.errors import SpyglassError
from spyglass.export.diff_document import write_difference
from spyglass.export.memory_document import write_memory
from spyglass.export.plain_values import record
from spyglass.export.profile_folded import write_folded
from spyglass.export.snapshot_document import document as document_of
from spyglass.inspector import Inspector
from spyglass.render.view_options import View
from spyglass.render.wait_lines import WaitLines
from spyglass.render.waits_view import render_waits
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve import process_answers as answers
from spyglass.serve.mcp.saved import Saved
from spyglass.serve.mcp.shorten import Found
from spyglass.serve.operations import Answer, Stored, written
from spyglass.words.profile_account import account_lines, account_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.snapshot_diff import Difference
    from spyglass.model import Snapshot
    from spyglass.profile import Profile

__all__ = [
    "content", "differences", "groups", "memory", "processes", "profile", "stacks", "summary", "waits",
]  # fmt: skip

Values = Mapping[str, Any]
Program = Inspector | Saved

_SUMMARY = (
    "process",
    "scheduler",
    "memory",
    "cpu",
    "memory_limits",
    "source",
    "taken_at",
    "problems",
)
_GROUPS = ("by_status", "run_queue", "rss_bytes", "taken_at", "problems")
_MEMORY = ("rss_bytes", "resident", "limits", "forecast", "go", "pressure", "profile", "open_files", "mappings",
           "swap_bytes", "taken_at", "problems")  # fmt: skip
_DIFF = ("elapsed_ns", "doubts", "by_creator", "resident", "memory", "threads", "scheduler")
_PROCESS = ("pid", "exe", "package", "module_version", "go_version", "container", "container_name", "pod", "namespace", "rss_bytes", "memory_limit_bytes",
            "cpu_seconds", "age_seconds", "threads", "user", "cmdline")  # fmt: skip
#: What compares with the reading before, which there is none of.
_OF_SEVERAL = frozenset({"change", "since_start", "growing", "seen_waiting_ns"})
#: Groups of waits whose lines are made; pages are of lines.
_WAIT_GROUPS = 200
#: What is in the stack, or a number of the document.
_IN_STACK = frozenset({"where", "call", "start", "stack"})
_IDS = 20
_STACKS_OF_PROFILE = 10


def summary(program: Program, values: Values) -> Found:
    """Findings, and the facts of the first screen."""
    if isinstance(program, Saved):
        document = content(answers.without_goroutines(program.snapshot()))
    else:
        document = content(answers.summary(program, {**values, "watch": None}))
    count, system = document["chosen_from"], document["chosen_from_system"]
    goroutines = {"count": (count or 0) - (system or 0), "of_the_runtime": system}
    return Found({**_picked(document, _SUMMARY), "goroutines": goroutines})


def groups(program: Program, values: Values) -> Found:
    """A page of the groups of goroutines, the largest first."""
    offset = values["offset"]
    document = content(answers.groups(program, {**values, "limit": offset + values["limit"]}))  # type: ignore[arg-type]
    rows = [
        {name: value for name, value in row.items() if name not in _OF_SEVERAL}
        for row in document["groups"][offset:]
    ]
    data = {**_picked(document, _GROUPS), "goroutines": document["goroutines"], "groups": rows}
    return Found(data, "groups", document["group_count"], offset)


def stacks(program: Program, values: Values) -> Found:
    """A page of goroutines by id, with their stacks and the way to what they hang on."""
    taken, asked = _taken(program, values, heap=False), answers.wanted(values)
    rows = asked.rows(taken, system=False)
    asked.require_match(taken, len(rows), system=False)
    rows = rows[np.argsort(taken.goroutines.id[rows], kind="stable")]
    offset = values["offset"]
    page = rows[offset : offset + values["limit"]]
    found = _goroutines(taken, page)
    for goroutine, lines in zip(found, _chains(taken, page), strict=True):
        goroutine["hangs_on"] = lines
    data = {"source": record(taken.source), "goroutines": found}
    return Found(data, "goroutines", len(rows), offset)


def waits(program: Program, values: Values) -> Found:
    """What goroutines wait on and who holds it: a page of the lines of ``spyglass waits``."""
    taken, asked = _taken(program, values, heap=values["heap"]), answers.wanted(values)
    known = verdicts(taken)
    if known is None:
        raise SpyglassError("the snapshot was saved without what goroutines wait on")
    rows = asked.rows(taken, system=True)
    asked.require_match(taken, len(rows), system=True)
    view = wait_view(known, taken.goroutines.id[rows], is_part=bool(asked.criteria))
    # Findings are a field of their own: their lines are left out.
    lines = [
        line.plain for line in render_waits(replace(view, is_part=True), View(limit=_WAIT_GROUPS))
    ]
    stuck = known.ids[known.stuck == 1]
    offset = values["offset"]
    data = {
        "findings": [record(each) for each in view.findings],
        "stuck": {"count": len(stuck), "ids": stuck[:_IDS].tolist()} if values["heap"] else None,
        "source": record(taken.source),
        "lines": lines[offset : offset + values["limit"]],
    }
    return Found(data, "lines", len(lines), offset)


def memory(program: Program, values: Values) -> Found:
    """Where memory goes, and with `heap` which calls allocated it."""
    found = program.heap_profile() if values["heap"] else None
    view = memory_view(program.snapshot("top"), program.memory_account(), found)
    document = content(Answer(written(lambda stream: write_memory(view, stream))))
    data = _picked(document, _MEMORY)
    if found is None:
        return Found(data)
    sites, offset = heap_sites(found), values["offset"]
    page = sites[offset : offset + values["limit"]]
    rows = [record(each) | {"where": each.where and record(each.where)} for each in page]
    return Found({**data, "allocated_by": rows}, "allocated_by", len(sites), offset)


def differences(found: Difference, values: Values) -> Found:
    """What changed between two snapshots: a page of groups with one stack, the most grown first."""
    document = content(Answer(written(lambda stream: write_difference(found, stream))))
    goroutines = {
        name: len(value) if isinstance(value, list) and name != "counts" else value
        for name, value in document["goroutines"].items()
    }
    rows, offset = document["by_stack"], values["offset"]
    page = rows[offset : offset + values["limit"]]
    data = {"goroutines": goroutines, **_picked(document, _DIFF), "by_stack": page}
    return Found(data, "by_stack", len(rows), offset)


def profile(found: Profile, values: Values) -> Found:
    """Where the time goes: a page of functions by their own time, and the longest stacks."""
    folded = Answer(written(lambda stream: write_folded(found, stream)))
    longest = [line.rpartition(" ") for line in _text(folded).splitlines()[:_STACKS_OF_PROFILE]]
    times = function_times(found)
    order = np.lexsort((-times.total_ns, -times.self_ns))
    offset = values["offset"]
    rows = [
        {"function": times.names[at], "self_ns": int(times.self_ns[at]), "total_ns": int(times.total_ns[at])}
        for at in order[offset : offset + values["limit"]].tolist()
    ]  # fmt: skip
    data = {
        "mode": found.mode,
        "warnings": account_warnings(found),
        "account": account_lines(found),
        "duration_ns": found.duration_ns,
        "sampled_ns": int(found.samples.value_ns.sum()),
        "problems": [record(each) for each in found.problems],
        "functions": rows,
        "longest_stacks": [
            {"ns": int(number), "outermost_first": stack.split(";")} for stack, _, number in longest
        ],
    }
    return Found(data, "functions", len(times.names), offset)


def processes(answer: Answer, values: Values) -> Found:
    """A page of the Go processes of the host."""
    document, name = content(answer), values["name"]
    rows = [
        {key: row[key] for key in _PROCESS}
        for row in document["processes"]
        if name is None or any(name in text for text in _names(row))
    ]
    offset = values["offset"]
    page = rows[offset : offset + values["limit"]]
    data = {"processes": page, "unreadable": document["unreadable"]}
    return Found(data, "processes", len(rows), offset)


def content(answer: Answer) -> Any:
    """The document in an answer."""
    return json.loads(_text(answer))


def _text(answer: Answer) -> str:
    body = answer.body
    if isinstance(body, Stored):
        with open(f"/proc/self/fd/{body.descriptor}", "rb") as file:  # at an offset of its own
            return file.read().decode()
    return body.decode()


def _picked(document: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Findings first, then what `names` say."""
    return {name: document[name] for name in ("findings", *names) if name in document}


def _names(process: Mapping[str, Any]) -> list[str]:
    found = [process[key] for key in ("exe", "package", "container", "container_name", "pod")]
    return [each for each in (*found, *process["cmdline"][:1]) if each]


def _taken(program: Program, values: Values, *, heap: bool) -> Snapshot:
    options = WaitOptions(heap=heap)
    return program.snapshot("full", waits=options, stop=values.get("stop", False))


def _goroutines(taken: Snapshot, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The records of goroutines, with the frames that Go prints in place of numbers."""
    shown = document_of(part(taken, rows))
    frames = [frame if not frame["hidden"] else None for frame in shown["frames"]]
    found = []
    for each in shown["goroutines"]:
        stack = shown["stacks"][each["stack"]] if each["stack"] is not None else []
        own = {name: value for name, value in each.items() if name not in _IN_STACK}
        found.append({**own, "stack": [frames[at] for at in stack if frames[at] is not None]})
    return found


def _chains(taken: Snapshot, rows: NDArray[np.int64]) -> Iterator[list[str]]:
    """For each goroutine, what it waits for, who holds that, and what that one waits for."""
    known = verdicts(taken)
    ids = taken.goroutines.id[rows]
    if known is None:
        yield from ([] for _ in ids)
        return
    lines = WaitLines(wait_view(known, ids, is_part=True), View(), detailed=True)
    for each in ids.tolist():
        waits_for = known.row(each) is not None
        yield [line.plain for line in lines.chain(each)] if waits_for else []
