"""Rounds of processes: spread over their interval, and whatever fails, they go on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from spyglass.errors import PermissionDenied, ProcessNotFound
from spyglass.serve import rounds as module
from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from spyglass.serve.rounds import Rounds
from tests.serving import SETTINGS


class Clock:
    """Time that passes when somebody sleeps, and `costs` seconds with each reading."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, costs: float = 0) -> None:
        self.now, self.costs = 1000.0, costs
        self.read: list[tuple[float, int]] = []
        self.errors: dict[int, Exception] = {}
        monkeypatch.setattr(
            "spyglass.serve.rounds.time", SimpleNamespace(monotonic=lambda: self.now)
        )
        monkeypatch.setattr(module, "_until", self.until)
        monkeypatch.setattr(random, "uniform", lambda low, high: low + (high - low) / 4)

    async def until(self, moment: float) -> None:
        await asyncio.sleep(0)
        self.now = max(self.now, moment)

    async def reading(self, process: Any) -> None:
        self.read.append((self.now - 1000, process.pid))
        self.now += self.costs
        if process.pid in self.errors:
            raise self.errors[process.pid]


def run(
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    pids: Callable[[], list[int]],
    ending: Exception | None = None,
) -> Rounds:
    """So many rounds, every 60 s, of the processes that `pids` gives; `ending`: what the ends of all but the last raise."""

    held: list[Rounds] = []

    async def ended() -> None:
        if held[0].rounds + 1 == number:
            raise asyncio.CancelledError
        if ending is not None:
            raise ending

    monkeypatch.setattr(module, "_chosen", lambda _: [SimpleNamespace(pid=pid) for pid in pids()])

    async def within() -> Rounds:
        found = Rounds(Readings(replace(SETTINGS)), 60.0, (), clock.reading, ended)
        held.append(found)
        with pytest.raises(asyncio.CancelledError):
            await found.run()
        return found

    return asyncio.run(within())


def test_rounds_begin_at_a_random_moment_and_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = run(clock, monkeypatch, 2, lambda: [7, 8, 9])
    assert clock.read == [(15, 7), (35, 8), (55, 9), (75, 7), (95, 8), (115, 9)]
    assert (found.done, found.failed, found.late, found.processes) == (6, 0, 0, 3)


def test_a_round_that_takes_too_long_delays_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, costs=100)
    found = run(clock, monkeypatch, 2, lambda: [7, 8])
    assert clock.read == [(15, 7), (115, 8), (215, 7), (315, 8)]
    assert found.late == 3


def test_errors_are_counted_and_processes_that_ended_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    clock.errors = {
        1: ProcessNotFound("gone"), 2: PermissionDenied("not yours"), 3: Refusal(504, "too late"),
        4: RuntimeError("secret"), 5: PermissionDenied("the last"),
    }  # fmt: skip
    found = run(clock, monkeypatch, 1, lambda: [1, 2, 3, 4, 5, 6])
    assert [pid for _, pid in clock.read] == [1, 2, 3, 4, 5, 6]
    assert (found.done, found.failed, found.error) == (1, 4, "the last")
    assert "secret" in capsys.readouterr().err  # for the log


def test_a_list_that_cannot_be_made_is_an_empty_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def refused() -> list[int]:
        raise Refusal(503, "too many readings wait")

    found = run(clock, monkeypatch, 2, refused)
    assert (clock.read, found.failed, found.error) == ([], 2, "too many readings wait")


def test_a_round_whose_end_is_refused_is_no_internal_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    found = run(clock, monkeypatch, 2, lambda: [7], ending=Refusal(504, "no answer within 30 s"))
    assert (found.rounds, found.done, found.failed) == (1, 2, 1)
    assert found.error == "no answer within 30 s"
    assert not capsys.readouterr().err


def test_time_is_real_without_a_clock_of_ours() -> None:
    began = time.monotonic()
    asyncio.run(module._until(began + 0.05))
    assert time.monotonic() >= began + 0.05
