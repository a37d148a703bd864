"""The open inspectors of `spyglass serve`, without processes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from starlette.testclient import TestClient

from spyglass.errors import NoMatch, PermissionDenied, ProcessChanged
from spyglass.serve import pool
from tests.serving import serving


class Program:
    """Stands for an inspector; `ended`: its process has."""

    def __init__(self) -> None:
        self.ended = self.closed = False

    def check(self) -> None:
        if self.ended:
            raise ProcessChanged("process 7 ended, and its pid was given to another process")

    def close(self) -> None:
        self.closed = True

    def snapshot(self, *_: Any, **__: Any) -> Any:
        raise NoMatch("nothing here")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """Those that were attached to."""
    found: list[Program] = []

    def attach(_pid: int) -> Program:
        found.append(Program())
        return found[-1]

    monkeypatch.setattr(pool, "attach", attach)
    return found


def test_a_pid_that_is_given_to_another_process_is_a_new_process(programs: list[Program]) -> None:
    with serving() as client:
        for _ in range(2):
            assert client.get("/v1/processes/7/threads").status_code == 404
        assert len(programs) == 1
        programs[0].ended = True
        assert client.get("/v1/processes/7/threads").json()["detail"] == "nothing here"
        assert len(programs) == 2
        assert (programs[0].closed, programs[1].closed) == (True, False)
    assert programs[1].closed


def is_collected(client: TestClient, programs: list[Program]) -> bool:
    """Whether the first of `programs`, made to refer to itself, is gone when the pool has closed what is idle."""
    program = programs.pop(0)
    program.circle = program  # type: ignore[attr-defined]
    left = weakref.ref(program)
    del program
    gc.disable()
    try:
        client.app.state.service.pool.close_idle()  # type: ignore[attr-defined]
        return left() is None
    finally:
        gc.enable()


def test_what_is_closed_leaves_no_garbage(programs: list[Program]) -> None:
    with serving(idle_s=0) as client:
        assert client.get("/v1/processes/7/threads").status_code == 404
        assert is_collected(client, programs)


def test_what_a_failed_reading_closes_leaves_no_garbage(programs: list[Program]) -> None:
    with serving() as client:
        assert client.get("/v1/processes/7/threads").status_code == 404
        programs[0].ended = True
        assert client.get("/v1/processes/7/threads").status_code == 404
        assert is_collected(client, programs)


@pytest.mark.parametrize(
    ("error", "status", "detail", "hint"),
    [
        (ValueError("a secret"), 500, "internal error", "the log of spyglass serve says more"),
        (PermissionDenied("refused\x1b[31m", "ask root"), 403, "refused\\x1b[31m", "ask root"),
    ],
)
def test_an_error_says_what_it_may(
    error: Exception, status: int, detail: str, hint: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def attach(_pid: int) -> Any:
        raise error

    monkeypatch.setattr(pool, "attach", attach)
    with serving() as client:
        answer = client.get("/v1/processes/7")
    assert answer.status_code == status
    assert (answer.json()["detail"], answer.json()["hint"]) == (detail, hint)
    assert ("a secret" in capsys.readouterr().err) == (status == 500)
