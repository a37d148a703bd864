"""What a request asks for, and what it gets: an `Operation` is one row of the table in `spyglass.serve.table`."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from starlette.responses import Response, StreamingResponse

from spyglass.serve.parameters import Parameter

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.serve.service import Service

__all__ = ["JSON", "Answer", "Asked", "Operation", "Stored", "json_answer", "written"]

JSON = "application/json"
_PIECE_BYTES = 1 << 18
#: A larger answer is kept in a file without a name, not in memory.
_IN_MEMORY_BYTES = 1 << 20


class Stored:
    """The content of an open file, which is kept as long as something refers to this."""

    def __init__(self, file: IO[bytes]) -> None:
        file.flush()
        self.descriptor = os.dup(file.fileno())
        self.size = os.fstat(self.descriptor).st_size
        weakref.finalize(self, os.close, self.descriptor)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The content in pieces; several may read it at once."""
        at = 0
        while piece := os.pread(self.descriptor, _PIECE_BYTES, at):
            yield piece
            at += len(piece)


@dataclass(frozen=True)
class Answer:
    """The body of a response, which several requests may share; `file`: the name under which browsers save it."""

    body: bytes | Stored
    media_type: str = JSON
    file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    def response(self) -> Response:
        """A response with it."""
        headers = dict(self.headers)
        if self.file is not None:
            headers["content-disposition"] = f'attachment; filename="{_safe(self.file)}"'
        if isinstance(self.body, bytes):
            return Response(self.body, self.status, headers, self.media_type)
        headers["content-length"] = str(self.body.size)
        return StreamingResponse(self.body.pieces(), self.status, headers, self.media_type)


@dataclass(frozen=True)
class Asked:
    """A request: the `values` of its parameters, those of its path (`pid`, `number`) and of its query; `key`: equal for
    requests that have the same answer."""

    key: Hashable
    values: Mapping[str, Any]

    @property
    def pid(self) -> int:
        """The process that it is about."""
        return int(self.values["pid"])


@dataclass(frozen=True)
class Operation:
    """A method and a path, and what answers it: `read`, called in a thread with an inspector of the process that the
    path names, or `handle`. `media_types`: of the answers; `about`: what OpenAPI says in one sentence; `headers`: those
    that are read like parameters."""

    name: str
    path: str
    about: str
    parameters: tuple[Parameter, ...] = ()
    media_types: tuple[str, ...] = (JSON,)
    method: str = "GET"
    status: int = 200
    read: Callable[[Inspector, Mapping[str, Any]], Answer] | None = None
    handle: Callable[[Service, Asked], Awaitable[Response]] | None = None
    headers: tuple[Parameter, ...] = ()


def written(write: Callable[[BinaryIO], object]) -> bytes | Stored:
    """What `write` writes, in a file without a name if it is large."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spooled:
        write(spooled)  # type: ignore[arg-type]
        if spooled.tell() > _IN_MEMORY_BYTES:
            return Stored(spooled)
        spooled.seek(0)
        return spooled.read()


def json_answer(content: Any, status: int = 200, **headers: str) -> Answer:
    """`content` as JSON in ASCII."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Answer(text.encode("ascii") + b"\n", headers=headers, status=status)


def _safe(name: str) -> str:
    return "".join(
        each if each.isascii() and (each.isalnum() or each in "._-") else "_" for each in name
    )
