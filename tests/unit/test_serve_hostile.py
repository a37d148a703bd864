"""Requests that nobody means well with: each gets a refusal, and nothing of the inside is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from spyglass.serve.parameters import parsed
from spyglass.serve.problems import Refusal
from spyglass.serve.table import OPERATIONS
from tests.children import sleeping
from tests.serving import BEARER, TOKEN, path_of, serving

ADDRESS = "http://127.0.0.1:8974"

#: Beside those that need no process.
FAILS = [
    each
    for each in OPERATIONS
    if "{" in each.path or each.path in ("/runtime", "/goroutines", "/memstats")
]

#: Stands for a process that is no Go program, so that nothing of it can be shown; no other one is asked about. Not this
#: process: with all libraries that other tests have loaded it takes long to see that none of them is Go's.
CHILD = "{child}"

WORDS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "0",
            "1",
            "-1",
            "true",
            "1e9",
            "10s",
            "../../etc/passwd",
            "%00",
            "a" * 2000,
            "\x00",
            "\u202e",
        ]
    ),
    st.integers(-(1 << 70), 1 << 70).map(str),
)
NAMES = st.one_of(
    st.sampled_from(
        sorted({each.name for operation in OPERATIONS for each in operation.parameters})
    ),
    st.text(max_size=20),
)
QUERIES = st.lists(st.tuples(NAMES, WORDS), max_size=6)


def refused(answer: Any, method: str, path: str) -> None:
    assert 400 <= answer.status_code < 500, (method, path, answer.text)
    assert TOKEN not in answer.text
    for inside in ("Traceback", "site-packages", "spyglass/serve", ".py"):
        assert inside not in answer.text, (method, path, answer.text)


@pytest.fixture(scope="module")
def child() -> Iterator[int]:
    with sleeping() as process:
        yield process.pid


def request(number: int, pid: str, rest: str, query: list[tuple[str, str]]) -> tuple[str, str]:
    """A method and a path."""
    operation = FAILS[number % len(FAILS)]
    values = {
        "pid": quote(pid, safe=""),
        "number": quote(rest, safe=""),
        "id": quote(rest, safe=""),
    }
    text = "&".join(f"{quote(name, safe='')}={quote(word, safe='')}" for name, word in query)
    return operation.method, f"{path_of(operation, **values)}?{text}"


async def attack(app: Any, requests: list[tuple[str, str]]) -> None:
    """Send all `requests`; each is refused."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(
        transport=transport, base_url=ADDRESS, headers=BEARER, trust_env=False
    ) as client:
        for method, path in requests:
            refused(await client.request(method, path), method, path)


PIDS = st.one_of(
    WORDS.filter(lambda word: word.strip(".") and not word.strip("0").isdecimal()),
    st.just(CHILD),
)
REQUESTS = given(
    number=st.integers(0, 1000),
    pid=PIDS,
    rest=WORDS.filter(lambda word: word.strip(".")),
    query=QUERIES,
)
LIMITS = settings(
    deadline=None, database=None, derandomize=True, max_examples=50,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving() as client:
        yield client


def test_some_random_requests(client: TestClient, child: int) -> None:
    assert send_all(client, child, examples=50, operations=1) >= 50


def test_a_query_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        parsed(OPERATIONS[0].parameters, b"pid=\xb1")
    assert caught.value.status == 400


@pytest.mark.slow
def test_ten_thousand_random_requests(client: TestClient, child: int) -> None:
    assert send_all(client, child, examples=2000, operations=5) >= 10_000


def send_all(client: TestClient, child: int, examples: int, operations: int) -> int:
    """Send each of `examples` random requests to so many operations; how many requests that were."""
    sent = 0

    def send(number: int, pid: str, **random: Any) -> None:
        nonlocal sent
        random["pid"] = pid.replace(CHILD, str(child))
        requests = [request(number + 7 * each, **random) for each in range(operations)]
        assert client.portal is not None
        client.portal.call(attack, client.app, requests)
        sent += len(requests)

    settings(LIMITS, max_examples=examples)(REQUESTS(send))()
    return sent
