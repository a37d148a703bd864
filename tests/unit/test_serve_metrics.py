"""`/metrics` of serve answers in the time that it is given: with new values, or with the last ones and their age."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spyglass.errors import PermissionDenied
from spyglass.export.metrics import page
from spyglass.memory_account import GoMemory, MemoryAccount
from spyglass.model import Snapshot
from spyglass.process_list import GoProcess
from spyglass.serve import scrape
from spyglass.serve.pool import Pool
from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from spyglass.serve.scrape import Scraper
from tests.serving import SETTINGS, serving
from tests.snapshots import PROCESS, Row, make_snapshot

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def process(pid: int, started: datetime = STARTED) -> GoProcess:
    return GoProcess(
        pid, "root", None, None, None, None, started, 1, 1, 1, (), f"/bin/program{pid}", False, False, None
    )  # fmt: skip


@dataclass
class Program:
    """An inspector of a program with so many goroutines."""

    goroutines: int

    def snapshot(self, waits: object) -> Snapshot:
        return make_snapshot([Row(1)] * self.goroutines)

    def memory_account(self) -> MemoryAccount:
        return MemoryAccount(PROCESS, STARTED, 1, 1, (), GoMemory({}))


class Programs(Pool):
    """Processes that answer when they may: `answers` is called for each reading."""

    def __init__(self, answers: Callable[[int], Any]) -> None:
        readings = Readings(SETTINGS)
        super().__init__(SETTINGS, readings)
        self.scraper = Scraper(SETTINGS, readings, self)
        self.answers = answers

    async def read(self, pid: int, key: object, work: Callable[[Any], Any]) -> Any:
        return work(Program(await self.answers(pid)))

    async def scrape(self, seconds: float = 60) -> dict[tuple[str, str], float]:
        await self.scraper.look_for_processes(seconds)
        await self.scraper.read(time.monotonic() + seconds)
        text = page(self.scraper.known()).decode()
        return {
            (sample.name, sample.labels.get("pid", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[GoProcess]:
    """The processes of this host."""
    processes: list[GoProcess] = []
    monkeypatch.setattr(scrape, "_go_processes", lambda: tuple(processes))
    return processes


def test_what_does_not_answer_in_time_has_its_last_values_and_their_age(
    listed: list[GoProcess],
) -> None:
    listed += [process(1), process(2)]

    async def scrapes() -> None:
        may = asyncio.Event()
        may.set()
        asked = []

        async def answer(pid: int) -> int:
            asked.append(pid)
            if pid == 2:
                await may.wait()
            return len(asked)

        programs = Programs(answer)
        first = await programs.scrape()
        assert (first["go_goroutines", "1"], first["go_goroutines", "2"]) == (1, 2)
        may.clear()
        for _ in range(3):  # the reading that goes on is not begun again
            late = await programs.scrape(0.05)
            assert late["go_goroutines", "1"] > 2
            assert late["go_goroutines", "2"] == 2
            assert late["spyglass_process_read", "2"] == 1
        assert asked.count(2) == 2
        assert late["spyglass_reading_age_seconds", "2"] > first["spyglass_reading_age_seconds", "2"]  # fmt: skip
        assert late["spyglass_readings_total", ""] == 5
        may.set()
        assert (await programs.scrape())["go_goroutines", "2"] > 2
        programs.scraper.close()

    asyncio.run(scrapes())


def test_what_was_never_read_says_so_and_what_is_refused_too(listed: list[GoProcess]) -> None:
    listed += [process(1), process(2), process(3)]

    async def answer(pid: int) -> int:
        if pid == 1:
            raise PermissionDenied("no")
        if pid == 2:
            raise Refusal(503, "too many")
        await asyncio.sleep(60)
        return 1

    async def scrapes() -> None:
        programs = Programs(answer)
        found = await programs.scrape(0.5)
        names = {name for name, _ in found}
        assert names == {
            "spyglass_process_read", "spyglass_read_duration_seconds", "spyglass_reading_age_seconds",
            "spyglass_readings_total", "spyglass_reading_failures_total",
        }  # fmt: skip
        assert [found["spyglass_process_read", pid] for pid in "123"] == [0, 0, 0]
        assert found["spyglass_reading_failures_total", ""] == 1
        assert ("spyglass_reading_age_seconds", "3") not in found
        programs.scraper.close()

    asyncio.run(scrapes())


def test_a_list_that_comes_late_is_there_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    may, asked = threading.Event(), []

    def listed() -> tuple[GoProcess, ...]:
        asked.append(1)
        may.wait(60)
        return (process(1),)

    async def answer(_pid: int) -> int:
        return 3

    async def scrapes() -> None:
        programs = Programs(answer)
        for _ in range(3):
            assert ("go_goroutines", "1") not in await programs.scrape(0.05)
            assert len(asked) == 1  # one at a time
        may.set()
        while ("go_goroutines", "1") not in await programs.scrape():
            await asyncio.sleep(0.01)
        programs.scraper.close()

    monkeypatch.setattr(scrape, "_go_processes", listed)
    asyncio.run(scrapes())


def test_without_the_package_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spyglass.export.metrics", None)
    with serving() as client:
        answer = client.get("/metrics")
    assert answer.status_code == 501
    assert "spyglass[metrics]" in answer.json()["hint"]


def test_a_pid_of_another_process_does_not_have_its_values(listed: list[GoProcess]) -> None:
    async def answer(pid: int) -> int:
        await asyncio.sleep(0 if len(listed) == 1 else 60)
        return 7

    async def scrapes() -> None:
        programs = Programs(answer)
        listed.append(process(1))
        assert (await programs.scrape())["go_goroutines", "1"] == 7
        listed[:] = [process(1, datetime(2026, 1, 2, tzinfo=UTC)), process(2)]
        found = await programs.scrape(0.05)
        assert found["spyglass_process_read", "1"] == 0
        assert ("go_goroutines", "1") not in found
        programs.scraper.close()

    asyncio.run(scrapes())


@pytest.mark.parametrize("timeout", ["x", "nan", "inf", "0", "-1", "9" * 5000])
def test_a_timeout_that_is_none(listed: list[GoProcess], timeout: str) -> None:
    with serving() as client:
        answer = client.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": timeout})
        # A number with so many digits is as long as there is.
        assert answer.status_code == (200 if timeout.startswith("9") else 400)


def test_the_page_tells_of_spyglass_itself(listed: list[GoProcess]) -> None:
    with serving() as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\nprocess_resident_memory_bytes " in answer.text
    assert "\nspyglass_readings_total 0.0" in answer.text


async def never(_pid: int) -> None:
    raise PermissionDenied("no")


def test_the_container_is_a_label_whether_the_process_can_be_read_or_not(
    listed: list[GoProcess],
) -> None:
    listed.append(replace(process(1), container="c0ffee", container_name="cart", pod="cart-1", namespace="shop"))  # fmt: skip

    async def labels(answers: Callable[[int], Any]) -> list[dict[str, str]]:
        scraper = Programs(answers).scraper
        before = page(scraper.known()).decode()
        await scraper.look_for_processes(60)
        await scraper.read(time.monotonic() + 60)
        text = page(scraper.known()).decode()
        assert "pid" not in before
        return [
            {name: text for name, text in sample.labels.items() if name != "program"}
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "spyglass_process_read"
        ]

    async def one(_pid: int) -> int:
        return 1

    wanted = {"pid": "1", "container": "cart", "pod": "cart-1", "namespace": "shop"}  # fmt: skip
    for answers in (one, never):
        assert asyncio.run(labels(answers)) == [wanted]
