"""The processor time that ``spyglass top`` shows, of a program that burns it in known shares."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from spyglass.cli import top_sampling
from spyglass.cli.top_feed import LiveTicks
from spyglass.model import NONE
from spyglass.procfs import read_cpu
from spyglass.tui.feed import Tick
from spyglass.tui.sampled import Sampled
from spyglass.tui.view_state import Model
from tests.children import in_child, wait_until
from tests.command import piped
from tests.integration.test_threads import descriptors, forbid_perf_events
from tests.support import MATRIX, Flavour, GoProcess, start
from tests.terminal import on_screen

pytestmark = [pytest.mark.go, pytest.mark.live]

#: How long a test waits for what comes soon where the processors are free.
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def hot() -> Iterator[GoProcess]:
    with start("hot", MATRIX[-1], Flavour.STRIPPED, "-brief") as process:
        yield process


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many samples in a short time, all of which are kept."""
    for name, value in (
        ("_PART_SECONDS", 0.3),
        ("_PARTS", 1000),
        ("_RATE_HZ", 499.0),
        ("_MAX_SHARE", 9.0),
    ):
        monkeypatch.setattr(top_sampling, name, value)


@contextmanager
def ticks_of(process: GoProcess) -> Iterator[LiveTicks]:
    ticks = LiveTicks()
    ticks.attach(process.pid)
    try:
        yield ticks
    finally:
        ticks.close()


def watched(ticks: LiveTicks, is_enough: Callable[[Tick, Sampled], bool]) -> Model:
    """The view with processor time, as soon as a tick `is_enough`."""
    model, deadline = Model(), time.monotonic() + PATIENCE_SECONDS
    model.show_cpu(True)
    while True:
        tick = ticks.take(True, cpu=True)
        model.note(tick)
        assert tick.sampled is not None
        if is_enough(tick, tick.sampled):
            return model
        assert time.monotonic() < deadline, tick.sampled
        time.sleep(0.2)


def has_parts(count: int, _tick: Tick, sampled: Sampled) -> bool:
    return len(sampled.parts) >= count


def samples_in(sampled: Sampled) -> int:
    return sum(part.account.samples for part in sampled.parts)


@pytest.mark.usefixtures("hurried")
def test_the_hottest_function_is_the_true_one(hot: GoProcess) -> None:
    with ticks_of(hot) as ticks:
        model = watched(ticks, lambda _, sampled: samples_in(sampled) > 300)
    sampled = model.sampled
    assert sampled is not None
    own = {each.name: each.self_ns for each in model.functions}
    total = {each.name: each.total_ns for each in model.functions}
    assert own["main.hot"] / (own["main.hot"] + own["main.warm"]) == pytest.approx(0.75, abs=0.1)
    assert total["main.work"] == pytest.approx(own["main.hot"] + own["main.warm"], rel=0.05)
    assert sum(own.values()) <= sampled.sampled_ns
    callers = sampled.callers_of("main.hot")
    assert max(callers, key=callers.__getitem__) == ("main.hot", "main.work")


@pytest.mark.usefixtures("hurried")
def test_the_time_of_a_group_is_that_of_its_goroutines(hot: GoProcess) -> None:
    with ticks_of(hot) as ticks:
        model = watched(ticks, lambda _, sampled: samples_in(sampled) > 300)
    sampled, times, snapshot = model.sampled, model.goroutine_times, model.snapshot
    assert sampled is not None
    assert times is not None
    assert snapshot is not None
    rows = {int(goid): row for row, goid in enumerate(snapshot.goroutines.id.tolist())}
    (work,) = {
        goid
        for part in sampled.parts
        for stack, goid in zip(part.samples.stack, part.samples.goroutine.tolist(), strict=True)
        if goid != NONE and any(each.function == "main.work" for each in part.stack(int(stack)))
    }
    of_work = float(times.of_rows_ns[rows[work]])
    total = {each.name: each.total_ns for each in model.functions}
    assert 0.7 * total["main.work"] < of_work <= 1.05 * total["main.work"]
    shown = sum(row.cpu_percent or 0 for row in model.rows)
    outside = model.outside_groups(times)
    everything = shown + sampled.percent(sum(outside.values()))
    assert everything == pytest.approx(sampled.percent(sampled.sampled_ns), abs=0.5)
    # Goroutines that ended are in no group, and nobody gets their time.
    assert outside["ended"] > 0
    assert times.ended_ns + times.unknown_ns > 0.5 * total["main.visit"]


@pytest.mark.usefixtures("hurried")
@pytest.mark.slow
def test_what_was_used_is_what_the_kernel_accounts(hot: GoProcess) -> None:
    """As in the header of the view, which has it of the time since the last refresh."""
    readings = []
    with ticks_of(hot) as ticks:
        for parts in (1, 10):
            model = watched(ticks, partial(has_parts, parts))
            assert model.sampled is not None
            readings.append((read_cpu(hot.pid), model.sampled))
    (before, first), (after, last) = readings
    cores = (after.process_ns - before.process_ns) / (after.at_ns - before.at_ns)
    used = (last.used_ns - first.used_ns) / (last.window_ns - first.window_ns)
    assert used == pytest.approx(cores, abs=0.15)
    assert last.coverage == pytest.approx(1, abs=0.15)


@pytest.mark.usefixtures("hurried")
def test_nothing_is_sampled_any_more_when_it_is_not_shown(hot: GoProcess) -> None:
    with ticks_of(hot) as ticks:
        ticks.take(True)
        before, threads = descriptors(), threading.active_count()
        watched(ticks, lambda _, sampled: bool(sampled.parts))
        assert threading.active_count() == threads + 1
        assert ticks.take(True).sampled is None
        wait_until(lambda: threading.active_count() == threads)
        assert descriptors() == before


@pytest.mark.usefixtures("hurried")
def test_where_sampling_costs_too_much_the_rate_falls(
    hot: GoProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_sampling, "_MAX_SHARE", 1e-6)
    with ticks_of(hot) as ticks:
        model = watched(
            ticks, lambda _, sampled: bool(sampled.parts) and sampled.parts[-1].rate_hz == 9
        )
    assert model.sampled is not None


@pytest.mark.usefixtures("hurried")
def test_a_new_recording_goes_on_where_the_last_one_ended(
    hot: GoProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings are renewed, so that what they remember stays small; here with every part."""
    monkeypatch.setattr(top_sampling, "_RENEW_SECONDS", 0.1)
    with ticks_of(hot) as ticks:
        first = watched(ticks, partial(has_parts, 1))
        before = len(descriptors())
        model = watched(ticks, partial(has_parts, 4))
        assert len(descriptors()) <= before + 5
    assert first.sampled is not None
    assert model.sampled is not None
    assert model.sampled.refused is None
    assert samples_in(model.sampled) > samples_in(first.sampled)


def test_without_permission_it_says_which_rule_forbids_it(hot: GoProcess) -> None:
    def refused() -> str | None:
        forbid_perf_events()
        with ticks_of(hot) as ticks:
            return watched(ticks, lambda _, sampled: sampled.refused is not None).sampled.refused  # type: ignore[union-attr]

    assert "seccomp" in (in_child(refused) or "")


@pytest.mark.slow
def test_the_group_that_uses_most_is_the_first_line_of_json(hot: GoProcess) -> None:
    shown = piped(
        "top", str(hot.pid), "--sort", "cpu", "--group", "creator", "--count", "1", "--json"
    )
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    percents = [group["cpu_percent"] for group in document["groups"]]
    assert percents == sorted(percents, reverse=True)
    assert document["groups"][0]["created_by"]["function"] == "main.main"
    assert document["sampled"]["functions"][0]["function"] in ("main.hot", "main.burn")
    assert document["sampled"]["sampled_percent"] > 5


def test_from_a_function_to_its_callers_and_back(hot: GoProcess) -> None:
    with on_screen("-p", str(hot.pid), "--interval", "200ms") as screen:
        screen.until("main.hot")
        screen.press("c")
        screen.until("main.warm", PATIENCE_SECONDS)
        screen.until("goroutine known")
        screen.press("\r")
        screen.until("called by")
        screen.press("\x1b\x1b")
        screen.press("C")
        screen.until("not in groups", PATIENCE_SECONDS)
        screen.press("q")
        assert screen.end() == 0
