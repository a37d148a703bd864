"""What is said of limits of memory: how near, killed before, waiting for memory, and when they are met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spyglass.analysis.findings import findings
from spyglass.analysis.findings.limits import limit_findings
from spyglass.analysis.findings.thresholds import FORECAST_CRITICAL_SECONDS
from spyglass.memory_limits import (
    Effect,
    Kind,
    MemoryForecast,
    MemoryLimit,
    MemoryLimits,
    MemoryPressure,
    OpenFile,
)
from spyglass.words.memory_limits import forecast_text, limit_text, when_text
from tests.snapshots import PROCESS, make_snapshot

MIB = 1 << 20


def group(
    used: int, cache: int = 0, path: str = "/app", limit: int = 1000, kills: int = 0
) -> MemoryLimit:
    """A control group of version 2; sizes in MiB."""
    return MemoryLimit(
        "cgroup", "memory.max", "kill", path, bytes=limit * MIB, used_bytes=used * MIB,
        reclaimable_bytes=cache * MIB, working_set_bytes=(used - cache // 2) * MIB, oom_kills=kills,
    )  # fmt: skip


def said(limits: MemoryLimits, forecast: MemoryForecast | None = None) -> list[tuple[str, str]]:
    return [(each.kind, each.severity) for each in limit_findings(limits, "next", forecast)]


@pytest.mark.parametrize(
    ("used", "cache", "severity"),
    [(899, 0, None), (900, 0, "warning"), (969, 0, "warning"), (970, 0, "critical"), (1000, 101, None),
     (1000, 100, "warning"), (1000, 30, "critical")],
)  # fmt: skip
def test_page_cache_does_not_bring_a_limit_nearer(
    used: int, cache: int, severity: str | None
) -> None:
    found = [
        each for each in said(MemoryLimits((group(used, cache),))) if each[0] == "memory-limit"
    ]
    assert found == ([("memory-limit", severity)] if severity else [])


def test_the_nearest_limit_is_named_with_its_numbers() -> None:
    limits = MemoryLimits((group(500), group(1960, 20, "/pod", 2000)))
    (found,) = limit_findings(limits, "next")
    assert found.title == (
        "1.9 GiB used that cannot be reclaimed: 97 % of the memory limit of control group /pod, 2.0 GiB "
        "(working set 98 %); the kernel kills a process when there is nothing left"
    )


def test_the_own_group_is_named_beside_a_nearer_one_if_it_is_near_too() -> None:
    limits = MemoryLimits((group(950), group(1990, 0, "/pod", 2000)))
    assert said(limits) == [("memory-limit", "critical"), ("memory-limit", "warning")]


@pytest.mark.parametrize(
    ("kind", "name", "effect", "severity"),
    [("cgroup", "memory.high", "slow", "critical"), ("rlimit", "RLIMIT_AS", "refuse", "critical"),
     ("host", "MemTotal", "kill", "warning"), ("gomemlimit", "GOMEMLIMIT", "collect", None),
     ("cgroup", "memory.swap.max", "swap", None)],
)  # fmt: skip
def test_limits_of_all_kinds(kind: Kind, name: str, effect: Effect, severity: str | None) -> None:
    limit = replace(group(980), kind=kind, name=name, effect=effect, path=None)
    others = MemoryLimits((replace(group(0), bytes=None), limit))
    assert said(others) == ([("memory-limit", severity)] if severity else [])


def test_a_group_full_of_page_cache_is_explained_with_its_files() -> None:
    files = (
        OpenFile("/var/log/app.log", 700 * MIB, 600 * MIB, 0, False),
        OpenFile("/dev/shm/ring", 90 * MIB, 90 * MIB, 0, True),
        OpenFile("/data/cold", 90 * MIB, None, None, False),
    )
    (found,) = limit_findings(MemoryLimits((group(990, 700),), files=files), "next")
    assert (found.kind, found.severity) == ("page-cache", "info")
    assert "700.0 MiB of it by page cache (working set 64 %)" in found.title
    assert found.detail == "in memory of open files: /var/log/app.log 600.0 MiB"


@pytest.mark.parametrize("rows", [(), (replace(group(900, 899), bytes=None),), (group(899, 600),)])
def test_nothing_is_said_where_nothing_is_near(rows: tuple[MemoryLimit, ...]) -> None:
    assert said(MemoryLimits(rows)) == []


def test_past_kills_are_those_of_the_innermost_group_that_had_any() -> None:
    limits = MemoryLimits(
        (group(10), group(20, path="/pod", kills=2), group(30, path="/", kills=90))
    )
    (found,) = limit_findings(limits, "next")
    assert found.kind == "oom-kills"
    assert found.title.startswith(
        "the kernel has killed 2 processes of control group /pod for lack"
    )
    own = MemoryLimits((group(10, kills=1),))
    assert "1 process of its control group" in next(limit_findings(own, "next")).title


@pytest.mark.parametrize(("minute", "count"), [(9.9, 0), (10.0, 1)])
def test_pressure(minute: float, count: int) -> None:
    pressure = (MemoryPressure(None, (50.0, minute, 0.0), (0.0, 2.0, 0.0)),)
    found = list(limit_findings(MemoryLimits(pressure=pressure), "next"))
    assert [each.kind for each in found] == ["memory-pressure"] * count
    assert all("on this host waited" in each.title for each in found)


def when(earliest: float, latest: float | None) -> MemoryForecast:
    return MemoryForecast(0, earliest, latest, "goal", 30)


@pytest.mark.parametrize(
    ("forecast", "severity"),
    [(when(FORECAST_CRITICAL_SECONDS, 9999), "critical"), (when(FORECAST_CRITICAL_SECONDS + 1, 9999), "warning"),
     (when(5, None), "warning")],
)  # fmt: skip
def test_a_forecast_is_the_first_finding(forecast: MemoryForecast, severity: str) -> None:
    assert said(MemoryLimits((group(950),)), forecast)[0] == ("memory-forecast", severity)


@pytest.mark.parametrize(
    ("earliest", "latest", "text"),
    [(960.5, 1199, "in 16 to 20 min"), (17.9, 20.1, "in 17 to 21 s"), (0.4, 8, "within 8 s"),
     (7300, 7300, "in 2 to 3 h"), (200000, 400000, "in 2 to 5 days"), (959, None, "in 15 min at the earliest")],
)  # fmt: skip
def test_times_are_rounded_outward(earliest: float, latest: float | None, text: str) -> None:
    assert when_text(when(earliest, latest)) == text


def test_a_forecast_in_words() -> None:
    limits = MemoryLimits((group(500, limit=2048),))
    assert forecast_text(limits, when(960, 1200)) == (
        "the memory limit of its control group, 2.0 GiB, is met in 16 to 20 min at this rate"
    )


def test_names_of_limits() -> None:
    deep = "/kubepods.slice/" + "a" * 60
    limits = MemoryLimits((group(1), group(1, path=deep), replace(group(1), path=None)))
    own, above, hidden = (limit_text(limits, row) for row in limits.rows)
    assert own == "the memory limit of its control group"
    assert above == "the memory limit of control group …" + "a" * 39
    assert hidden == "the memory limit of a control group above its own"
    host = MemoryLimit("host", "MemTotal", "kill")
    assert limit_text(limits, host) == "the memory of the host"


def test_a_snapshot_says_what_its_limits_say_and_not_what_resident_memory_would() -> None:
    process = replace(PROCESS, rss_bytes=950 * MIB, memory_limit_bytes=1000 * MIB)
    without = make_snapshot(process=process)
    assert [each.kind for each in findings(without)] == ["rss-limit"]
    known = replace(without, limits=MemoryLimits((group(980, 700),)))
    assert [each.kind for each in findings(known)] == ["page-cache"]
    assert str(findings(known)[0].next).startswith("spyglass memory --pid")
    assert str(findings(replace(known, file="a.json"))[0].next) == "spyglass summary a.json"
