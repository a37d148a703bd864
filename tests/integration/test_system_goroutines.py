"""Which goroutines are the runtime's: by the rule of Go's own traceback, and as programs count them."""

from __future__ import annotations

import time

import pytest

import spyglass
from spyglass.model import Snapshot
from tests.agreement import disagreements
from tests.children import in_child
from tests.integration.test_threads import forbid_perf_events
from tests.support import ALL_MINORS, MATRIX, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

_WITH_CLEANUPS = ALL_MINORS[ALL_MINORS.index("1.24") :]
_PROGRAMS = [
    *(("finalizers", minor) for minor in MATRIX),
    *(("cleanups", minor) for minor in MATRIX if minor in _WITH_CLEANUPS),
]


@pytest.mark.parametrize(("program", "minor"), _PROGRAMS)
@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED], ids=lambda f: f.value)
def test_they_are_the_runtimes_unless_they_run_the_programs_code(
    program: str, minor: str, flavour: Flavour
) -> None:
    with start(program, minor, flavour) as process:
        assert _difference(process) == 0
        assert process.ask("wait") == "done"
        assert _difference(process) == 1
        assert process.ask("end") == "done"
        assert _difference(process) == 0
        assert process.ask("spin") == "done"
        assert _difference(process) == 1


@pytest.mark.parametrize(("program", "minor"), _PROGRAMS)
def test_one_that_runs_is_the_programs_even_if_its_stack_cannot_be_read(
    program: str, minor: str
) -> None:
    with start(program, minor) as process:
        assert process.ask("spin") == "done"

        def look() -> list[str]:
            forbid_perf_events()
            turn = ("running", "runnable")  # it may just have lost its turn
            at_work = [each for each in _look(process) if each.status in turn]
            return [str(each.start and each.start.function) for each in at_work if not each.system]

        starts = in_child(look)
    assert len(starts) == 1
    assert starts[0] in ("runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups")


def _difference(process: GoProcess) -> int:
    """How many more goroutines of its own a program has than ``runtime.NumGoroutine`` says.

    That counts by what a goroutine was when it began (``newproc1``, ``gcount``): never one that runs finalizers
    or cleanups. Tracebacks and profiles have it while it does.
    """
    truth, profile = process.truth(), int(process.ask("profile"))
    time.sleep(0.01)
    snapshot = _look(process)
    own = sum(not each.system for each in snapshot)
    assert own == profile == len(truth.goroutines)
    # One that spins loses its turn now and then: it is not elsewhere, but on another line.
    at_work = [each.id for each in snapshot if each.status in ("running", "runnable")]
    assert disagreements(snapshot, truth.goroutines, moving=[1, *at_work]) == []
    assert snapshot.scheduler.goroutines == truth.num_goroutine
    return own - truth.num_goroutine


def _look(process: GoProcess) -> Snapshot:
    with spyglass.attach(process.pid) as inspector:
        return inspector.snapshot()
