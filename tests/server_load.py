"""Requests to finished servers, one after the other, by processes of their own: ``python -m tests.server_load NAME PORT``."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

__all__ = ["Request", "loaded", "requests_of"]

_CLIENTS = 2
_QUERIES = (
    'sum by (__name__) (rate({__name__=~"prometheus_.+"}[1m]))',
    "topk(5, rate(prometheus_http_request_duration_seconds_bucket[1m]))",
    "histogram_quantile(0.9, rate(prometheus_http_request_duration_seconds_bucket[1m]))",
)


class Request(NamedTuple):
    """What is asked of a server."""

    method: str
    path: str
    body: str | None = None


@contextmanager
def loaded(name: str, port: int) -> Iterator[None]:
    """With requests to the finished server `name` at `port`."""
    command = [sys.executable, "-m", "tests.server_load", name, str(port)]
    root = Path(__file__).parent.parent
    clients = [subprocess.Popen(command, cwd=root) for _ in range(_CLIENTS)]
    try:
        yield
    finally:
        for client in clients:
            client.kill()
            client.wait()


def _query(number: int) -> Request:
    now = time.time()
    query = _QUERIES[number % len(_QUERIES)]
    return Request(
        "GET",
        "/api/v1/query_range?"
        + urlencode({"query": query, "start": now - 600, "end": now, "step": "1s"}),
    )


def _put_or_range(number: int) -> Request:
    if number % 4 == 0:
        key = _encoded(f"key{number % 500}")
        return Request("POST", "/v3/kv/put", json.dumps({"key": key, "value": key * 20}))
    keys = {"key": _encoded("k"), "range_end": _encoded("l"), "limit": "100"}
    return Request("POST", "/v3/kv/range", json.dumps(keys))


def _metrics(_: int) -> Request:
    return Request("GET", "/metrics")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_REQUESTS: dict[str, Callable[[int], Request]] = {"prometheus": _query, "etcd": _put_or_range}


def requests_of(name: str) -> Callable[[int], Request]:
    """The requests to the finished server `name`, by their number."""
    return _REQUESTS.get(name.partition("-")[0], _metrics)


def _send_for_ever(name: str, port: int) -> None:
    request_of = requests_of(name)
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    number = 0
    while True:
        try:
            connection.request(*request_of(number))
            connection.getresponse().read()
        except (OSError, HTTPException):
            connection.close()
            time.sleep(0.1)
        number += 1


if __name__ == "__main__":
    _send_for_ever(sys.argv[1], int(sys.argv[2]))
