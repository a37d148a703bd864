"""All operations of the server, one row each: routes and the OpenAPI document are made of this table."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from spyglass.serve import process_answers as answers
from spyglass.serve.live import LIVE, live
from spyglass.serve.openapi import document
from spyglass.serve.operations import JSON, Answer, Asked, Operation, written
from spyglass.serve.parameters import choice

if TYPE_CHECKING:
    from spyglass.serve.service import Service

__all__ = ["OPERATIONS"]

_PROCESS = "/v1/processes/{pid}"
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
    return (await service.apart(asked, lambda: _list(asked.values["sort"]))).response()


def _list(order: Any) -> Answer:
    from spyglass.formats import exporter
    from spyglass.processes import go_processes

    listing = go_processes().sorted_by(order)
    return Answer(written(lambda stream: exporter("processes", "json").write(listing, stream)))


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
        "core", f"{_PROCESS}/core", "A small core file; it has memory of the process, possibly secrets.",
        media_types=(_BINARY,), handle=_core,
    ),
)  # fmt: skip
