"""How soon a reader gets a processor: of threads, not of processes, so each test has a thread of its own."""

from __future__ import annotations

import os
import time

import pytest

from spyglass.threads import priority
from spyglass.threads.priority import Hurry, set_slice, slice_ns
from tests.children import drop_capability, in_child, in_thread, may_be_first

_CAP_SYS_NICE = 23
needs_slices = pytest.mark.skipif(slice_ns() == 0, reason="this kernel tells no time slices")


def state() -> tuple[int, int, int]:
    """Policy, nice value, and time slice of the calling thread."""
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), slice_ns()


needs_priority = pytest.mark.skipif(not may_be_first(), reason="needs CAP_SYS_NICE")


@needs_slices
def test_a_slice_is_short_until_the_reader_restores_what_it_had() -> None:
    def hurry() -> list[int]:
        set_slice(3_000_000)
        hurry = Hurry()
        found = [slice_ns()]
        hurry.restore()
        found.append(slice_ns())
        set_slice(0)
        return [*found, slice_ns()]

    usual = slice_ns()
    assert in_thread(hurry) == [100_000, 3_000_000, usual]


@needs_priority
def test_in_a_with_statement_it_comes_before_all_others_and_only_there() -> None:
    def hurry() -> list[tuple[int, int, int]]:
        found = [state()]
        hurry = Hurry()
        found.append(state())
        with hurry:
            policy = os.sched_getscheduler(0)
        found.append(state())
        hurry.restore()
        return [*found, state(), (policy, 0, 0)]

    before, outside, behind, restored, (policy, _, _) = in_thread(hurry)
    assert policy == os.SCHED_FIFO
    assert behind == outside == (os.SCHED_OTHER, -15, outside[2])
    assert restored == before


@needs_priority
def test_it_comes_first_for_a_part_of_each_second_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "_FIRST_NS", 20_000_000)

    def policies() -> list[int]:
        hurry, found = Hurry(), []
        for seconds in (0.01, 0.02, 0.0, 0.0):
            with hurry:
                found.append(os.sched_getscheduler(0))
                until = time.thread_time() + seconds
                while time.thread_time() < until:
                    pass
            if len(found) == 3:
                hurry._until_ns = 0  # the next second
        hurry.restore()
        return found

    first, usual = os.SCHED_FIFO, os.SCHED_OTHER
    assert in_thread(policies) == [first, first, usual, first]


@needs_priority
def test_what_is_not_allowed_is_left_as_it_is() -> None:
    def hurry() -> tuple[int, int]:
        drop_capability(_CAP_SYS_NICE)
        with Hurry():
            return state()[:2]

    before = state()[:2]
    assert in_child(hurry) == before


def test_a_kernel_without_slices_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "_call", lambda *arguments: -1)
    hurry = Hurry()
    assert slice_ns() == 0
    hurry.restore()
