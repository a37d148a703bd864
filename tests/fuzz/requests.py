"""Target: requests to the server, up to where a process would be asked about: who may ask, paths, parameters, headers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

from starlette.types import Message, Scope

from spyglass.serve import app as app_module
from spyglass.serve.operations import Answer, Asked
from spyglass.serve.settings import Settings
from spyglass.serve.table import OPERATIONS
from tests.fuzz.target import Target

_TOKEN = b"0123456789abcdef-test"
_HEADERS = b"host: 127.0.0.1:8974\nauthorization: Bearer " + _TOKEN


class _Server:
    """The application, which answers what it would ask a process about with nothing."""

    def __init__(self) -> None:
        async def nothing(_service: Any, _asked: Asked) -> Any:
            return Answer(b"{}").response()

        answered = type(OPERATIONS)(replace(each, handle=nothing, read=None) for each in OPERATIONS)
        with patch.object(app_module, "OPERATIONS", answered):
            self.app = app_module.create_app(Settings(_TOKEN.decode()))
        self.app.state.service = None

    def ask(self, scope: Scope) -> tuple[int, bytes]:
        """Status and body of the answer."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        with suppress(StopIteration):
            self.app(scope, receive, send).send(None)
            raise AssertionError("nothing here waits")
        body = b"".join(each.get("body", b"") for each in sent)
        return sent[0]["status"], body


@cache
def _server() -> _Server:
    return _Server()


def _seeds() -> Iterator[bytes]:
    for each in OPERATIONS:
        path = each.path.replace("{", "").replace("}", "")
        query = "&".join(f"{parameter.name}=1" for parameter in each.parameters)
        yield f"{each.method} {path}?{query}\n".encode() + _HEADERS
    yield b"GET /v1/processes?token=" + _TOKEN + b"\nhost: localhost\n"
    yield b"GET /v1/processes\nhost: [::1]:80\norigin: http://[::1]:80\ncookie: spyglass=0; a=b\nsec-fetch-site: same-origin\n"
    yield b"POST /v1/processes/1/recordings?seconds=10s&mode=cpu\nhost: localhost:1\nauthorization: Basic OjAxMjM=\n"


def _scope(data: bytes) -> Scope:
    """A line of method and path, then lines of headers, as a server of HTTP gives them on."""
    first, *lines = data.split(b"\n")
    method, _, where = first.decode("latin-1").partition(" ")
    path, _, query = where.partition("?")
    pairs = (line.partition(b":") for line in lines if b":" in line)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method or "GET", "scheme": "http",
        "path": path or "/", "raw_path": path.encode("latin-1"), "query_string": query.encode("latin-1"),
        "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8974),
    }  # fmt: skip


def _read(data: bytes) -> None:
    scope = _scope(data)
    status, body = _server().ask(scope)
    assert 200 <= status < 500, (status, body)
    for inside in (b"Traceback", b"site-packages", b".py"):
        assert inside not in body, body
    if not _may_know_token(data):
        assert _TOKEN not in body
        assert status >= 300 or scope["path"] == "/healthz", (status, body)


def _may_know_token(data: bytes) -> bool:
    """Whether `data` has a part of the token, or something that is not written as it is."""
    parts = (_TOKEN[at : at + 4] for at in range(len(_TOKEN) - 3))
    return any(part in data for part in (*parts, b"%", b"asic"))


TARGETS = {"requests": Target(_read, _seeds, max_bytes=1024)}
