"""The open inspectors of `spyglass serve`, without processes."""

from __future__ import annotations

from typing import Any

import pytest

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
