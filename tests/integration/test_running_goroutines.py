"""Goroutines that run while they are looked at: sampled, or read while the program is stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import spyglass
from spyglass.model import Goroutine, Snapshot
from tests.agreement import disagreements
from tests.children import in_child
from tests.integration.test_threads import forbid_perf_events
from tests.support import Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]


@pytest.fixture(scope="module")
def spinning(minor: str) -> Iterator[GoProcess]:
    with start("truth", minor, Flavour.EXE, "-spin", "2") as process:
        yield process


def running(snapshot: Snapshot) -> list[Goroutine]:
    return [goroutine for goroutine in snapshot if goroutine.status == "running"]


def test_a_sample_shows_where_they_run(spinning: GoProcess) -> None:
    with spyglass.attach(spinning.pid) as inspector:
        found = {g.id: g for _ in range(5) for g in running(inspector.snapshot()) if g.stack}
    assert len(found) == 2
    for goroutine in found.values():
        functions = [frame.function for frame in goroutine.stack or ()]
        assert functions[0] == "main.spin1"
        assert functions[-1] == "runtime.goexit"
        assert goroutine.where is not None
        assert goroutine.where.function == "main.spin1"
        assert goroutine.m is not None
        assert goroutine.quality in ("stable", "moved")


def test_the_top_of_a_stack_is_that_of_the_whole(spinning: GoProcess) -> None:
    with spyglass.attach(spinning.pid) as inspector:
        tops = [g.where for _ in range(5) for g in running(inspector.snapshot("top"))]
    assert {top.function for top in tops if top} == {"main.spin1"}


def test_where_samples_are_forbidden_one_problem_says_why(spinning: GoProcess) -> None:
    def look() -> tuple[list[Goroutine], list[str]]:
        forbid_perf_events()
        with spyglass.attach(spinning.pid) as inspector:
            snapshot = inspector.snapshot()
        return running(snapshot), [problem.detail for problem in snapshot.problems]

    goroutines, details = in_child(look)
    assert goroutines
    assert all(g.stack is None and g.m is not None and g.start is not None for g in goroutines)
    assert len(details) == 1
    assert "seccomp" in details[0]


def test_a_stopped_program_is_read_as_one_moment(spinning: GoProcess) -> None:
    said = spinning.truth()
    with spyglass.attach(spinning.pid) as inspector:
        snapshot = inspector.snapshot(stop=True)
    assert snapshot.source.stopped
    assert snapshot.source.stopped_ns is not None
    spins = {g.id for g in snapshot if g.where and g.where.function == "main.spin1"}
    # A thread may be stopped in the handler of the signal that preempts: then there is no stack.
    bare = {g.id for g in running(snapshot) if g.stack is None}
    assert len(spins) + len(bare) == 2
    assert len(bare) == len(snapshot.problems)
    assert disagreements(snapshot, said.goroutines, moving=[1, *spins, *bare]) == []
    assert {goroutine.quality for goroutine in snapshot} == {"stable"}
    assert {t.os_state for t in snapshot.threads}.isdisjoint({"tracing stop", "stopped"})
    assert spinning.truth().num_goroutine == said.num_goroutine


@pytest.mark.parametrize("stop", [False, True])
def test_every_thread_says_what_it_runs(spinning: GoProcess, stop: bool) -> None:
    with spyglass.attach(spinning.pid) as inspector:
        snapshot = inspector.snapshot(stop=stop, thread_stacks=True)
    # What a goroutine was doing when its thread turned to others: it called the scheduler, or was preempted where its
    # function looks for more stack (``stack.go: newstack``).
    outermost = {"runtime.mstart", "runtime.mcall", "runtime.goexit", "runtime.rt0_go"}
    outermost.add("runtime.morestack")
    seen = [thread for thread in snapshot.threads if thread.stack]
    assert len(seen) >= len(snapshot.threads) - 2  # a thread may be between two things
    for thread in seen:
        assert thread.runs in ("goroutine", "g0", "gsignal")
        assert snapshot.frames[(thread.stack or ())[-1]].function in outermost


def test_a_thread_in_c_names_the_function() -> None:
    with start("cgo") as process, spyglass.attach(process.pid) as inspector:
        snapshot = inspector.snapshot(thread_stacks=True)
    in_c = [thread for thread in snapshot.threads if thread.runs == "C"]
    names = {snapshot.frames[(thread.stack or ())[0]].function for thread in in_c}
    assert any(name.startswith("libc.so.6!read+0x") for name in names), names
