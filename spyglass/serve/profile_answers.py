"""The paths of profiles: start one, watch it, fetch it, cancel it; and the CPU profile of net/http/pprof."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from spyglass.formats import exporter
from spyglass.serve.operations import JSON, Answer, Asked, json_answer, written
from spyglass.serve.parameters import choice, integer, span
from spyglass.serve.problems import Refusal
from spyglass.serve.process_answers import PAGE_POLICY
from spyglass.serve.recordings import Job

if TYPE_CHECKING:
    from spyglass.profile import Profile
    from spyglass.serve.service import Service

__all__ = [
    "RESULT",
    "SECONDS",
    "START",
    "cancel",
    "cpu_profile",
    "listed",
    "page_profile",
    "result",
    "start",
    "state",
]

_MAX_SECONDS = 600
_MEDIA_TYPES = {
    "json": JSON, "pprof": "application/octet-stream", "html": "text/html; charset=utf-8", "svg": "image/svg+xml",
    "folded": "text/plain; charset=utf-8", "speedscope": JSON,
}  # fmt: skip
START = (
    choice("mode", "What is recorded.", ("cpu", "wall", "offcpu"), default="cpu"),
    span("duration", "For how long.", 0.1, _MAX_SECONDS, default_s=10),
    integer("rate", "Samples a second; 99, or 10 of waits, if it is not given.", 1, 1000),
)
RESULT = (choice("format", "The format.", tuple(_MEDIA_TYPES), default="json"),)
SECONDS = (integer("seconds", "For how long.", 1, _MAX_SECONDS, default=30),)


async def start(service: Service, asked: Asked) -> Response:
    """Start a recording; its state, with its path in the header Location."""
    values = asked.values
    job = Job(asked.pid, values["mode"], values["duration"] / 1e9, values["rate"])
    await _started(service, job)
    return json_answer(job.document(), 201, location=f"/v1/profiles/{job.id}").response()


async def listed(service: Service, _asked: Asked) -> Response:
    """The state of all."""
    return json_answer(
        {"profiles": [job.document() for job in service.recordings.jobs()]}
    ).response()


async def state(service: Service, asked: Asked) -> Response:
    """The state of one."""
    return json_answer(service.recordings.job(asked.values["id"]).document()).response()


async def cancel(service: Service, asked: Asked) -> Response:
    """Cancel and forget one."""
    service.recordings.remove(service.recordings.job(asked.values["id"]))
    return Response(status_code=204)


async def result(service: Service, asked: Asked) -> Response:
    """The profile of one that has ended."""
    job, name = _ended(service, asked), asked.values["format"]
    file = f"{job.mode}-{job.pid}-{job.id[:6]}.pb.gz"
    answer = await service.apart(asked, lambda: _answer(job, name, file))
    return answer.response()


async def page_profile(service: Service, asked: Asked) -> Response:
    """The profile of one that has ended, as the page shows it."""
    from spyglass.serve import page_parts

    job = _ended(service, asked)
    answer = await service.apart(asked, lambda: page_parts.profile(_profile(job)))
    return answer.response()


async def cpu_profile(service: Service, asked: Asked) -> Response:
    """What net/http/pprof's "profile" gives: record for some seconds, and answer with the profile."""
    job = Job(asked.pid, "cpu", asked.values["seconds"])
    await _started(service, job, keep=False)
    try:
        await job.over.wait()
    except asyncio.CancelledError:
        job.cancelled = True
        raise
    return (
        await service.readings.share(job.id, None, lambda: _answer(job, "pprof", "profile"))
    ).response()


async def _started(service: Service, job: Job, *, keep: bool = True) -> None:
    """Start `job`; raises at once what says that its process cannot be read."""
    await service.pool.read(job.pid, "checked", lambda program: program.check())
    service.recordings.start(job, keep=keep)


def _ended(service: Service, asked: Asked) -> Job:
    """The recording that the path names; raises `Refusal` if it has not ended."""
    job = service.recordings.job(asked.values["id"])
    if not job.over.is_set():
        raise Refusal(
            409, "it is still being recorded", f"GET /v1/profiles/{job.id} says how far it is"
        )
    return job


def _profile(job: Job) -> Profile:
    if job.error is not None:
        raise job.error
    assert job.profile is not None
    return job.profile


def _answer(job: Job, name: str, file: str) -> Answer:
    """The profile of `job`, which has ended, in format `name`; browsers save a pprof profile as `file`."""
    body = written(partial(exporter("profile", name).write, _profile(job)))
    headers = {"content-security-policy": PAGE_POLICY} if name == "html" else {}
    return Answer(body, _MEDIA_TYPES[name], file if name == "pprof" else None, headers)
