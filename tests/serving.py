"""``spyglass serve`` inside the process of a test."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import jsonschema
import uvicorn
from starlette.testclient import TestClient

from spyglass.export import __file__ as export
from spyglass.serve.app import create_app
from spyglass.serve.operations import Operation
from spyglass.serve.service import Service
from spyglass.serve.settings import Settings

__all__ = ["BEARER", "LEAKED", "TOKEN", "Listening", "listening", "path_of", "serving", "valid"]

TOKEN = "0123456789abcdef-test"
BEARER = {"authorization": f"Bearer {TOKEN}"}
#: How many goroutines of `knots` nobody will ever wake, beside its deadlock.
LEAKED = 12
#: Time enough on a busy host; no test is to wait for processor time.
SETTINGS = Settings(TOKEN, max_cpu=100.0, limit_s=60.0)


@contextmanager
def serving(headers: dict[str, str] | None = BEARER, **settings: Any) -> Iterator[TestClient]:
    """A client of a server with such `settings`; its requests have `headers`."""
    app = create_app(replace(SETTINGS, **settings))
    with TestClient(app, "http://127.0.0.1:8974", raise_server_exceptions=False) as client:
        client.headers.update(headers or {})
        yield client


class Listening(NamedTuple):
    """A server that browsers reach at `address`."""

    address: str
    service: Service


@contextmanager
def listening(port: int = 0, **settings: Any) -> Iterator[Listening]:
    """A server with such `settings` at `port`, or any that is free, in a thread."""
    loops: Queue[tuple[Service, asyncio.AbstractEventLoop]] = Queue()
    app = create_app(
        replace(SETTINGS, **settings),
        lambda service: loops.put((service, asyncio.get_running_loop())),
    )
    server = uvicorn.Server(uvicorn.Config(
        app, http="h11", ws="none", lifespan="on", log_level="error", timeout_graceful_shutdown=1,
    ))  # fmt: skip
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        service, loop = loops.get(timeout=60)
        try:
            yield Listening(f"http://127.0.0.1:{listener.getsockname()[1]}/", service)
        finally:
            server.should_exit = True
            loop.call_soon_threadsafe(service.closing.set)
            thread.join()


def path_of(operation: Operation, **values: object) -> str:
    """The path of `operation` with these values in it, or 1."""
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], 1)), operation.path)


def valid(document: Any) -> Any:
    """`document`, which is as its schema says."""
    name = document["schema"].removeprefix("spyglass.").removesuffix("/1")
    schema = json.loads((Path(export).parent / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    return document
