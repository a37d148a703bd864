"""All tools, one row each: what an assistant is told of them, their arguments, and what answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from spyglass.analysis.same_process import other_program
from spyglass.analysis.snapshot_diff import difference
from spyglass.errors import SpyglassError
from spyglass.inspector import Inspector
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.mcp import views
from spyglass.serve.mcp.arguments import given
from spyglass.serve.mcp.saved import item
from spyglass.serve.mcp.shorten import Found, answer
from spyglass.serve.parameters import Parameter, choice, flag, integer, span, text
from spyglass.serve.problems import Refusal
from spyglass.serve.process_answers import FILTERS
from spyglass.serve.recordings import Job

if TYPE_CHECKING:
    from spyglass.model import Snapshot
    from spyglass.serve.service import Service

__all__ = ["TOOLS", "Tool", "call", "parameters"]

Values = Mapping[str, Any]
Content = dict[str, Any]

_MAX_PID = 1 << 22
_MAX_SECONDS = 60
_PID = integer("pid", "The process; list_processes names them.", 1, _MAX_PID)
_SNAPSHOT = text(
    "snapshot", "In place of pid: the name of a saved snapshot, which the resources list."
)
_OFFSET = integer("offset", "Leave out so many rows: for the next page.", 0, 100_000, default=0)
_STOP = flag(
    "stop", "Stop the process while it is read, some milliseconds, for an answer of one moment."
)
_FILTERS = tuple(each for each in FILTERS if each.name != "system")


@dataclass(frozen=True)
class Tool:
    """A tool. `read` is called in a thread with an inspector of the process that the arguments name, or with a saved
    snapshot; or `handle` answers. `fields`: of the data, with what they are. `stops`: has the argument `stop`, where
    that is allowed."""

    name: str
    title: str
    about: str
    parameters: tuple[Parameter, ...]
    fields: Mapping[str, tuple[str, str]]
    read: Callable[[Any, Values], Found] | None = None
    handle: Callable[[Service, Values], Awaitable[Content]] | None = None
    required: tuple[str, ...] = ()
    stops: bool = False


def _limit(default: int, most: int) -> Parameter:
    return integer("limit", "How many rows.", 1, most, default=default)


def parameters(tool: Tool, *, allow_stop: bool) -> tuple[Parameter, ...]:
    """The parameters of `tool`."""
    return (*tool.parameters, _STOP) if allow_stop and tool.stops else tool.parameters


async def call(service: Service, tool: Tool, arguments: Mapping[str, Any] | None) -> Content:
    """The structured content of the answer. Raises `Refusal` and `SpyglassError`."""
    allowed = service.settings.allow_stop
    values = given(parameters(tool, allow_stop=allowed), tool.required, arguments)
    if tool.handle is not None:
        return await tool.handle(service, values)
    read = tool.read
    assert read is not None
    key = ("tool", tool.name, tuple(sorted(values.items())))
    if (values["pid"] is None) == (values["snapshot"] is None):
        raise Refusal(400, "give either pid or snapshot")
    if values["pid"] is not None:
        return await service.pool.read(
            values["pid"], key, lambda program: answer(read(program, {**_ALL, **values}))
        )
    saved = item(service, values["snapshot"])
    return await service.readings.share(
        ("saved", saved.name), key, lambda: answer(read(saved.open(), {**_ALL, **values}))
    )


#: What the parameters of paths have and tools have not.
_ALL: Values = {"system": False}


async def _processes(service: Service, values: Values) -> Content:
    from spyglass.serve.table import listed

    work = partial(listed, values["sort"])
    key = ("processes", values["sort"])
    found = await service.readings.share(key, None, work, light=True)
    return answer(views.processes(found, values))


async def _profile(service: Service, values: Values) -> Content:
    job = Job(values["pid"], values["mode"], values["duration"] / 1e9)
    await service.pool.read(job.pid, "checked", Inspector.check)
    service.recordings.start(job, keep=False)
    try:
        await job.over.wait()
    except asyncio.CancelledError:
        job.cancelled = True
        raise
    if job.error is not None:
        raise job.error
    assert job.profile is not None
    shown = partial(views.profile, job.profile, values)
    return await service.readings.share(job.id, None, lambda: answer(shown()))


async def _diff(service: Service, values: Values) -> Content:
    before, after, pid = values["before"], values["after"], values["pid"]
    if pid is None and (before is None or after is None):
        raise Refusal(
            400, "give pid, or before and after", "pid alone compares it with itself a while later"
        )
    if pid is not None and after is not None:
        raise Refusal(400, "after: with pid, the process as it is now is the later one")
    if before is not None:
        first = await _saved(service, before)
    else:
        first = await _now(service, pid)
        await asyncio.sleep(values["wait"] / 1e9)
    second = await (_saved(service, after) if pid is None else _now(service, pid))
    return await service.readings.share(
        object(), None, lambda: answer(_differences(first, second, values))
    )


def _differences(first: Snapshot, second: Snapshot, values: Values) -> Found:
    if why := other_program(first.process, second.process):
        raise SpyglassError(f"the snapshots are of different programs: {why}")
    pair = sorted((first, second), key=lambda each: each.taken_at)
    return views.differences(difference(pair, system=False), values)


async def _saved(service: Service, name: str) -> Snapshot:
    saved = item(service, name)
    return await service.readings.share(
        ("saved", saved.name), "loaded", lambda: saved.open().snapshot()
    )


async def _now(service: Service, pid: int) -> Snapshot:
    def take(program: Inspector) -> Snapshot:
        return program.with_account(program.snapshot("full", waits=WaitOptions(heap=False)))

    return await service.pool.read(pid, ("tool", "snapshot"), take)


_FINDINGS = (
    "array",
    "What is unusual, the most severe first; next is the command of spyglass that shows more.",
)
_OBJECT, _LIST, _NUMBER = "object", "array", "integer"

TOOLS: tuple[Tool, ...] = (
    Tool(
        "list_processes", "Go processes of this host",
        "List the Go processes of this host: pid, program, container, memory, processor time, age. Begin here.",
        (
            text("name", "Only those with this in the path of the executable, the package, the container or the pod."),
            choice("sort", "The order.", ("pid", "cpu", "rss", "age"), default="rss"),
            _limit(20, 200), _OFFSET,
        ),
        {"processes": (_LIST, "One process each."), "unreadable": (_LIST, "Processes that may be Go programs, and why that is not known.")},
        handle=_processes,
    ),
    Tool(
        "summarize", "What a process is doing",
        "Findings (deadlocks, lock convoys, leaks, memory limits, throttling), then the facts: goroutines, scheduler, memory, "
        "processor time, limits. The first look at a process; the findings say where to look next.",
        (_PID, _SNAPSHOT),
        {"findings": _FINDINGS, "process": (_OBJECT, "The program."), "goroutines": (_OBJECT, "How many."),
         "scheduler": (_OBJECT, "Processors, run queue."), "memory": (_OBJECT, "Heap, collections."),
         "cpu": (_OBJECT, "Processor time in the window before."), "problems": (_LIST, "What is missing or doubtful.")},
        read=views.summary,
    ),
    Tool(
        "goroutine_groups", "Goroutines in groups",
        "Group goroutines by what they do and where, the largest group first: state, count, longest wait, place in the user's "
        "code, what it calls, and what created them. Finds leaks and pile-ups.",
        (
            _PID, _SNAPSHOT, *_FILTERS,
            text("by", "function (default), stack, creator, state, or label:KEY."),
            _limit(20, 100), _OFFSET,
        ),
        {"findings": _FINDINGS, "goroutines": (_NUMBER, "How many there are."), "groups": (_LIST, "The groups.")},
        read=views.groups, stops=True,
    ),
    Tool(
        "goroutine_stack", "Stacks of goroutines",
        "Show single goroutines, by id or by filters: state, wait, whole stack (innermost first), labels, and the way to "
        "what each hangs on: object, holder, what that one waits for.",
        (_PID, _SNAPSHOT, *_FILTERS, _limit(3, 20), _OFFSET),
        {"goroutines": (_LIST, "The goroutines by id; hangs_on: lines of text.")},
        read=views.stacks, stops=True,
    ),
    Tool(
        "waits", "What goroutines wait on",
        "Say what goroutines wait on, in groups: locks with their holders, channels, network peers, timers; deadlocks. With heap "
        "also which goroutines nothing can ever wake (leaks), which takes longer on a large heap.",
        (
            _PID, _SNAPSHOT, *_FILTERS, flag("heap", "Look through the heap for goroutines that nothing can wake."),
            _limit(100, 200), _OFFSET,
        ),
        {"findings": _FINDINGS, "stuck": (_OBJECT, "Goroutines that nothing can wake."), "lines": (_LIST, "Lines of text.")},
        read=views.waits, stops=True,
    ),
    Tool(
        "diff_snapshots", "What changed",
        "Compare two moments of one program: goroutines that came, went and stayed stuck, by stack and by creator; memory. "
        "before and after are saved snapshots; pid with before: since then; pid alone: two readings, wait apart.",
        (
            text("before", "The name of the earlier saved snapshot."), text("after", "The name of the later one."), _PID,
            span("wait", "With pid alone: the time between the readings.", 0.1, 25, default_s=5), _limit(20, 100), _OFFSET,
        ),
        {"goroutines": (_OBJECT, "Their numbers at both times; how many were born, are gone, are stuck."),
         "by_stack": (_LIST, "Groups with one stack, by how they grew."), "by_creator": (_LIST, "The same by creator.")},
        handle=_diff,
    ),
    Tool(
        "profile", "Where time goes",
        "Record for some seconds where a process spends processor time (cpu), or what its goroutines wait in (wall, offcpu): "
        "functions by own time, and the longest stacks. Takes as long as duration says.",
        (
            _PID, choice("mode", "What is recorded.", ("cpu", "wall", "offcpu"), default="cpu"),
            span("duration", "For how long.", 0.1, _MAX_SECONDS, default_s=5), _limit(25, 100), _OFFSET,
        ),
        {"warnings": (_LIST, "Why the picture may be wrong."), "functions": (_LIST, "Functions by own time."),
         "longest_stacks": (_LIST, "Stacks with most time.")},
        handle=_profile, required=("pid",),
    ),
    Tool(
        "memory", "Where memory goes",
        "Say what resident memory is of (live heap, garbage, heap that Go keeps, stacks, C, files), what the limits leave, "
        "and with heap which calls allocated what is in use.",
        (_PID, _SNAPSHOT, flag("heap", "With the sites of the runtime's allocation samples."), _limit(20, 100), _OFFSET),
        {"findings": _FINDINGS, "rss_bytes": (_NUMBER, "Resident memory."), "resident": (_LIST, "Its parts."),
         "limits": (_LIST, "Limits and what they leave."), "allocated_by": (_LIST, "Sites by bytes in use.")},
        read=views.memory,
    ),
)  # fmt: skip
