"""``spyglass serve`` inside the process of a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from spyglass.serve.app import create_app
from spyglass.serve.operations import Operation
from spyglass.serve.settings import Settings

__all__ = ["BEARER", "TOKEN", "path_of", "serving"]

TOKEN = "0123456789abcdef-test"
BEARER = {"authorization": f"Bearer {TOKEN}"}
#: Time enough on a busy host; no test is to wait for processor time.
SETTINGS = Settings(TOKEN, max_cpu=100.0, limit_s=60.0)


@contextmanager
def serving(headers: dict[str, str] | None = BEARER, **settings: Any) -> Iterator[TestClient]:
    """A client of a server with such `settings`; its requests have `headers`."""
    app = create_app(replace(SETTINGS, **settings))
    with TestClient(app, "http://127.0.0.1:8974", raise_server_exceptions=False) as client:
        client.headers.update(headers or {})
        yield client


def path_of(operation: Operation, **values: object) -> str:
    """The path of `operation` with these values in it, or 1."""
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], 1)), operation.path)
