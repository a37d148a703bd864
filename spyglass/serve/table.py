"""All operations of the server, one row each: routes and the OpenAPI document are made of this table."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from spyglass.serve import gospy, kept, page_parts, page_streams
from spyglass.serve import pprof_answers as pprof
from spyglass.serve import process_answers as answers
from spyglass.serve import profile_answers as profiles
from spyglass.serve.live import LIVE, live
from spyglass.serve.openapi import document
from spyglass.serve.operations import JSON, Answer, Asked, Operation, json_answer, written
from spyglass.serve.parameters import choice
from spyglass.serve.problems import Refusal
from spyglass.serve.scrape import TIMEOUT, metrics

if TYPE_CHECKING:
    from spyglass.serve.service import Service

__all__ = ["OPERATIONS", "listed"]

_PROCESS = "/v1/processes/{pid}"
_PPROF = f"{_PROCESS}/debug/pprof"
#: What the page at / asks for; documents of the page of the same version alone.
_PAGE = "/page/processes/{pid}"
_TEXT, _GZIP, _BINARY, _HTML = (
    "text/plain",
    "application/gzip",
    "application/octet-stream",
    "text/html",
)
_FORMAT = next(each for each in answers.LIST if each.name == "format")


@lru_cache(1)
def _document() -> dict[str, Any]:
    return document(OPERATIONS)


async def _openapi(_service: Service, _asked: Asked) -> Response:
    return JSONResponse(_document())


async def _processes(service: Service, asked: Asked) -> Response:
    work = partial(listed, asked.values["sort"])
    return (await service.readings.share(asked.key, None, work, light=True)).response()


def listed(order: Any) -> Answer:
    """The Go processes of the host in this order."""
    from spyglass.formats import exporter
    from spyglass.processes import go_processes

    listing = go_processes().sorted_by(order)
    return Answer(written(lambda stream: exporter("processes", "json").write(listing, stream)))


async def _archive(service: Service, _asked: Asked) -> Response:
    if service.archiver is None:
        raise Refusal(404, "there is no archive", "`spyglass serve --archive DIR|URL` makes one")
    return json_answer(await service.archiver.document()).response()


async def _push(service: Service, _asked: Asked) -> Response:
    if service.pusher is None:
        raise Refusal(404, "no profiles are pushed", "`spyglass serve --push URL` pushes them")
    return json_answer(await service.pusher.document()).response()


async def _core(service: Service, asked: Asked) -> Response:
    from spyglass.serve.core_answer import core

    answer = await service.readings.share(("core", asked.pid), None, lambda: core(asked.pid))
    return answer.response()


OPERATIONS: tuple[Operation, ...] = (
    Operation("openapi", "/v1/openapi.json", "This document.", handle=_openapi),
    Operation(
        "processes", "/v1/processes", "The Go processes of the host: spyglass.ps/1.",
        (choice("sort", "The order.", ("pid", "cpu", "rss", "age"), default="pid"),), handle=_processes,
    ),
    Operation(
        "summary", _PROCESS, "Findings, process, scheduler, memory: spyglass.snapshot/1 without goroutines.",
        answers.SUMMARY, read=answers.summary,
    ),
    Operation(
        "goroutines", f"{_PROCESS}/goroutines", "Goroutines and their stacks, by id: spyglass.snapshot/1.",
        answers.LIST, (JSON, _TEXT), read=answers.goroutines,
    ),
    Operation(
        "goroutine", f"{_PROCESS}/goroutines/{{number}}",
        "One goroutine, what it waits on, and who holds that: spyglass.snapshot/1.",
        (_FORMAT,), (JSON, _TEXT), read=answers.goroutine,
    ),
    Operation(
        "groups", f"{_PROCESS}/groups", "Goroutines in groups, the largest first: spyglass.top/1.",
        answers.GROUPS, read=answers.groups,
    ),
    Operation(
        "live", f"{_PROCESS}/live", "Server-sent events, a line of spyglass.top/1 each.",
        LIVE, ("text/event-stream",), handle=live,
    ),
    Operation(
        "threads", f"{_PROCESS}/threads", "Threads and what they run: spyglass.snapshot/1 without goroutines.",
        read=answers.threads,
    ),
    Operation(
        "waits", f"{_PROCESS}/waits", "What goroutines wait on, and who holds it: spyglass.waits/1.",
        answers.WAITS, read=answers.waits,
    ),
    Operation(
        "snapshot", f"{_PROCESS}/snapshot", "A file that every command reads: spyglass.snapshot/1, compressed.",
        (answers.HEAP, answers.REDACT), (_GZIP,), read=answers.snapshot,
    ),
    Operation(
        "report", f"{_PROCESS}/report", "A self-contained page.",
        (answers.HEAP, answers.REDACT), (_HTML,), read=answers.report,
    ),
    Operation(
        "memory", f"{_PROCESS}/memory", "Where memory goes: spyglass.memory/1.", answers.MEMORY,
        read=answers.memory,
    ),
    Operation(
        "core", f"{_PROCESS}/core", "A small core file; it has memory of the process, possibly secrets.",
        media_types=(_BINARY,), handle=_core,
    ),
    Operation(
        "keep", f"{_PROCESS}/kept", "Take a snapshot and keep it in the server.", kept.KEEP, method="POST", status=201,
        handle=kept.keep,
    ),
    Operation("kept", "/v1/kept", "The kept snapshots.", handle=kept.listed),
    Operation("kept_file", "/v1/kept/{id}", "A kept snapshot.", media_types=(_GZIP,), handle=kept.fetch),
    Operation(
        "forget", "/v1/kept/{id}", "Delete a kept snapshot.", media_types=(), method="DELETE", status=204,
        handle=kept.forget,
    ),
    Operation(
        "diff", f"{_PROCESS}/diff", "What changed since a kept snapshot: spyglass.diff/1.", kept.DIFF, handle=kept.diff,
    ),
    Operation(
        "start_profile", f"{_PROCESS}/profiles", "Start to record a profile.", profiles.START, method="POST", status=201,
        handle=profiles.start,
    ),
    Operation("profiles", "/v1/profiles", "The profiles that are recorded, or were.", handle=profiles.listed),
    Operation("profile", "/v1/profiles/{id}", "How far a profile is.", handle=profiles.state),
    Operation(
        "profile_result", "/v1/profiles/{id}/result", "A profile that was recorded: spyglass.profile/1, or another format.",
        profiles.RESULT, (JSON, _BINARY, _HTML, "image/svg+xml", _TEXT), handle=profiles.result,
    ),
    Operation(
        "cancel_profile", "/v1/profiles/{id}", "Cancel a profile, and forget it.", media_types=(), method="DELETE",
        status=204, handle=profiles.cancel,
    ),
    Operation(
        "pprof_profile", f"{_PPROF}/profile", "As net/http/pprof: processor time.", profiles.SECONDS, (_BINARY,),
        handle=profiles.cpu_profile,
    ),
    Operation(
        "pprof_goroutine", f"{_PPROF}/goroutine", "As net/http/pprof: goroutines.", pprof.COUNTED, (_BINARY, _TEXT),
        read=pprof.goroutine,
    ),
    Operation(
        "pprof_goroutineleak", f"{_PPROF}/goroutineleak", "As net/http/pprof: goroutines that nothing can wake.",
        pprof.COUNTED, (_BINARY, _TEXT), read=pprof.goroutineleak,
    ),
    *(
        Operation(
            f"pprof_{name}", f"{_PPROF}/{name}", f"As net/http/pprof: {about}.", pprof.SITES, (_BINARY, _TEXT),
            read=pprof.sites(name),
        )
        for name, about in (
            ("heap", "memory in use"), ("allocs", "all allocations"), ("block", "waits"),
            ("mutex", "waits for locks, by who held them"),
        )
    ),
    Operation(
        "metrics", "/metrics", "Prometheus metrics of all Go processes.", headers=(TIMEOUT,), media_types=(_TEXT,),
        handle=metrics,
    ),
    Operation("archive", "/v1/archive", "How the archive of snapshots goes.", handle=_archive),
    Operation("push", "/v1/push", "How pushing profiles goes.", handle=_push),
    Operation("gospy_runtime", "/runtime", "As gospy: the version of Go.", gospy.PID, handle=gospy.runtime),
    Operation("gospy_goroutines", "/goroutines", "As gospy: goroutines.", gospy.PID, handle=gospy.goroutines),
    Operation("gospy_memstats", "/memstats", "As gospy: garbage collections.", gospy.PID, handle=gospy.memstats),
    Operation(
        "page_processes", "/page/processes", "For the page: the processes, as server-sent events.",
        media_types=("text/event-stream",), handle=page_streams.host,
    ),
    Operation(
        "page_live", f"{_PAGE}/live", "For the page: a process, as server-sent events.", page_streams.LIVE,
        ("text/event-stream",), handle=page_streams.process,
    ),
    Operation("page_goroutines", f"{_PAGE}/goroutines", "For the page: goroutines.", read=page_parts.goroutines),
    Operation("page_waits", f"{_PAGE}/waits", "For the page: waits.", (answers.HEAP,), read=page_parts.waits),
    Operation("page_memory", f"{_PAGE}/memory", "For the page: memory and its limits.", read=page_parts.memory),
    Operation("page_heap", f"{_PAGE}/heap", "For the page: the heap profile.", read=page_parts.heap),
    Operation("page_program", f"{_PAGE}/program", "For the page: program, scheduler, threads.", read=page_parts.program),
    Operation(
        "page_profile", "/page/profiles/{id}", "For the page: a profile that was recorded.", handle=profiles.page_profile,
    ),
)  # fmt: skip
