"""Snapshots that the server keeps, to compare a process with what it was."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from spyglass.errors import SpyglassError
from spyglass.formats import exporter
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.operations import Answer, Asked, Stored, json_answer, written
from spyglass.serve.parameters import flag, text
from spyglass.serve.problems import Refusal
from spyglass.serve.process_answers import HEAP, snapshot

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.serve.service import Service

__all__ = ["DIFF", "KEEP", "Kept", "diff", "fetch", "forget", "keep", "listed"]

KEEP = (HEAP,)
DIFF = (
    text("from", "The id of the kept snapshot."),
    HEAP,
    flag("system", "With goroutines of the runtime."),
)


@dataclass(frozen=True)
class Kept:
    """A kept snapshot of process `pid`: the file that ``spyglass snapshot`` saves."""

    id: str
    pid: int
    answer: Answer

    def document(self) -> dict[str, Any]:
        """What it is, in values that JSON knows."""
        body = self.answer.body
        size = body.size if isinstance(body, Stored) else len(body)
        return {"id": self.id, "pid": self.pid, "file": self.answer.file, "bytes": size}

    def load(self) -> Snapshot:
        """The snapshot."""
        from spyglass.export.snapshot_reader import load

        body = self.answer.body
        if isinstance(body, bytes):
            return load(io.BytesIO(body))
        with open(f"/proc/self/fd/{body.descriptor}", "rb") as file:  # at an offset of its own
            return load(file)


async def keep(service: Service, asked: Asked) -> Response:
    """Take a snapshot and keep it; raises `Refusal` if there are too many."""
    if len(service.kept) >= service.settings.kept:
        raise Refusal(
            409, f"{len(service.kept)} snapshots are kept already", "DELETE one of /v1/kept"
        )
    values = {**asked.values, "redact": False}
    answer = await service.pool.read(
        asked.pid, asked.key, lambda program: snapshot(program, values)
    )
    kept = Kept(secrets.token_hex(8), asked.pid, answer)
    service.kept[kept.id] = kept
    return json_answer(kept.document(), 201, location=f"/v1/kept/{kept.id}").response()


async def listed(service: Service, _asked: Asked) -> Response:
    """All kept snapshots."""
    return json_answer({"kept": [each.document() for each in service.kept.values()]}).response()


async def fetch(service: Service, asked: Asked) -> Response:
    """The file of one."""
    return _one(service, asked.values["id"]).answer.response()


async def forget(service: Service, asked: Asked) -> Response:
    """Delete one."""
    del service.kept[_one(service, asked.values["id"]).id]
    return Response(status_code=204)


async def diff(service: Service, asked: Asked) -> Response:
    """What changed in a process since a kept snapshot of it."""
    if asked.values["from"] is None:
        raise Refusal(400, "from: the id of a kept snapshot is needed", "GET /v1/kept lists them")
    kept, values = _one(service, asked.values["from"]), asked.values
    answer = await service.pool.read(
        asked.pid, asked.key, lambda program: _diff(program, kept, values)
    )
    return answer.response()


def _diff(program: Inspector, kept: Kept, values: Mapping[str, Any]) -> Answer:
    from spyglass.analysis.same_process import other_program
    from spyglass.analysis.snapshot_diff import difference

    before, now = kept.load(), program.snapshot("full", waits=WaitOptions(heap=values["heap"]))
    if why := other_program(before.process, now.process):
        raise SpyglassError(f"the snapshots are of different programs: {why}")
    found = difference([before, now], system=values["system"])
    return Answer(written(lambda stream: exporter("difference", "json").write(found, stream)))


def _one(service: Service, number: str) -> Kept:
    if number not in service.kept:
        raise Refusal(404, f"there is no kept snapshot {number[:64]!r}", "GET /v1/kept lists them")
    return service.kept[number]
