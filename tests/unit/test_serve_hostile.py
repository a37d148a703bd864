"""Requests that nobody means well with: each gets a refusal, and nothing of the inside is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from spyglass.serve.table import OPERATIONS
from tests.serving import TOKEN, path_of, serving

#: Beside those that need no process.
FAILS = [
    each
    for each in OPERATIONS
    if "{" in each.path or each.path in ("/runtime", "/goroutines", "/memstats")
]

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


def refused(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert 400 <= answer.status_code < 500, (method, path, answer.text)
    assert TOKEN not in answer.text
    for inside in ("Traceback", "site-packages", "spyglass/serve", ".py"):
        assert inside not in answer.text, (method, path, answer.text)


def attack(
    client: TestClient, number: int, pid: str, rest: str, query: list[tuple[str, str]]
) -> None:
    operation = FAILS[number % len(FAILS)]
    values = {
        "pid": quote(pid, safe=""),
        "number": quote(rest, safe=""),
        "id": quote(rest, safe=""),
    }
    text = "&".join(f"{quote(name, safe='')}={quote(word, safe='')}" for name, word in query)
    refused(client, operation.method, f"{path_of(operation, **values)}?{text}")


#: This process is no Go program, so nothing of it can be shown; no other process is asked about.
PIDS = st.one_of(
    WORDS.filter(lambda word: word.strip(".") and not word.strip("0").isdecimal()),
    st.just(str(os.getpid())),
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


def test_some_random_requests(client: TestClient) -> None:
    LIMITS(REQUESTS(lambda **request: attack(client, **request)))()


@pytest.mark.slow
def test_many_random_requests(client: TestClient) -> None:
    settings(LIMITS, max_examples=2000)(REQUESTS(lambda **request: attack(client, **request)))()
