"""Which goroutines nothing can wake, compared with what is known of the program, and with Go's own verdict."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import spyglass
from spyglass.inspector import Inspector
from spyglass.model import Goroutine, Snapshot
from spyglass.runtime import snapshotter
from spyglass.runtime.heap import specials
from spyglass.runtime.waiting.options import Moment, WaitOptions
from spyglass.wait_graph import KINDS, LookedAt
from tests.agreement import never
from tests.cores import emulated
from tests.support import ALL_MINORS, NEWEST, Flavour, GoProcess, build, in_milestones

pytestmark = [pytest.mark.go, pytest.mark.live]

#: Times that Go's own profile and spyglass are compared, each in a program of its own: addresses differ.
PROGRAMS = 3
#: How often a program under load is read; more by hand: SPYGLASS_READS=1000.
READS = int(os.environ.get("SPYGLASS_READS", "60"))
EVERYTHING = WaitOptions()
TRIES = 4


@pytest.fixture(scope="module")
def program(minor: str) -> Iterator[GoProcess]:
    with GoProcess([build("leaks", minor)]) as process:
        yield process


@dataclass
class Judged:
    """A snapshot, and which of its goroutines are stuck, by id; absent: not looked at."""

    snapshot: Snapshot
    stuck: dict[int, bool]
    looked_at: LookedAt

    @classmethod
    def of(
        cls, process: GoProcess, stop: bool = False, options: WaitOptions = EVERYTHING
    ) -> Judged:
        with spyglass.attach(process.pid) as inspector:
            return cls.by(inspector, stop, options)

    @classmethod
    def by(
        cls, inspector: Inspector, stop: bool = False, options: WaitOptions = EVERYTHING
    ) -> Judged:
        snapshot = inspector.snapshot(waits=options, stop=stop)
        waits = snapshot.waits
        assert waits is not None
        found = zip(waits.stuck.goroutine.tolist(), waits.stuck.stuck.tolist(), strict=True)
        return cls(snapshot, dict(found), waits.looked_at)

    def fated(self, fate: str) -> list[Goroutine]:
        """The goroutines of which the program says that this becomes of them."""
        return [each for each in self.snapshot if dict(each.labels or {}).get("fate") == fate]

    def alive(self) -> set[int]:
        """Who is not stuck, for certain."""
        return {each for each, stuck in self.stuck.items() if not stuck}

    def scenarios(self, ids: set[int]) -> list[tuple[int, str, str | None]]:
        """What the goroutines `ids` are, to be read by people."""
        return [
            (each.id, dict(each.labels or {}).get("scenario", ""), each.wait_reason)
            for each in self.snapshot
            if each.id in ids
        ]

    def places(self, ids: set[int]) -> list[tuple[int, str | None, str]]:
        """Where the goroutines `ids` wait, to be read by people."""
        return [
            (each.id, each.wait_reason, each.where.function if each.where else "")
            for each in self.snapshot
            if each.id in ids
        ]


@pytest.mark.parametrize("stop", [False, True], ids=["running", "stopped"])
def test_verdicts_are_those_that_the_program_was_made_for(
    program: GoProcess, minor: str, stop: bool
) -> None:
    """The innermost frame of a goroutine that runs is taken as a whole, with words of whoever had this stack before:
    now and then such a word is a channel of the chain, and keeps half of it alive. Then another process is tried."""
    for attempt in range(TRIES):
        with GoProcess([build("leaks", minor)]) if attempt else nullcontext(program) as process:
            judged = Judged.of(process, stop)
        leaked, live = judged.fated("leaked"), judged.fated("live")
        assert min(len(leaked), len(live)) > 100
        never(judged.scenarios({each.id for each in live if judged.stuck.get(each.id)}))
        assert judged.looked_at.heap_complete
        assert judged.looked_at.marks == 1 if stop else judged.looked_at.marks >= 3
        missed = judged.scenarios({each.id for each in leaked if not judged.stuck.get(each.id)})
        # A timer that was stopped stays in the heap of its P until that is tidied.
        others = [each for each in missed if not each[1].startswith("stopped")]
        if len(others) <= 0.02 * len(leaked):
            return
    raise AssertionError(others)


@in_milestones
def test_verdicts_in_an_arm64_core_are_those_that_the_program_was_made_for(
    minor: str, tmp_path: Path
) -> None:
    """One that ends in the middle of something refers to goroutines that nothing else does: then another is tried."""
    for attempt in range(TRIES):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        made = emulated("leaks", minor, folder, ask=None)
        with spyglass.open_core(str(made.core)) as inspector:
            assert inspector.runtime.arch == "arm64"
            judged = Judged.by(inspector)
        shutil.rmtree(folder)
        leaked, live = judged.fated("leaked"), judged.fated("live")
        assert min(len(leaked), len(live)) > 100
        never(judged.scenarios({each.id for each in live if judged.stuck.get(each.id)}))
        assert judged.looked_at.heap_complete
        missed = {each.id for each in leaked if not judged.stuck.get(each.id)}
        if len(missed) <= 0.02 * len(leaked):
            return
    raise AssertionError(judged.scenarios(missed))


@pytest.mark.matrix
def test_waits_of_what_stands_still_need_no_stop_on_arm64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to Go 1.16 what is not stopped is read twice, return addresses on the stacks among it. A core, taken for a process
    that may move, has the waits that it has as a core."""
    made = emulated("leaks", ALL_MINORS[0], tmp_path, ask=None)
    with spyglass.open_core(str(made.core)) as inspector:
        assert inspector.runtime.arch == "arm64"
        exact = _waits_of(inspector)
        monkeypatch.setattr(snapshotter, "Moment", partial(_as_if_it_moved, Moment))
        assert _waits_of(inspector) == exact
    assert len(exact) > 100


def _as_if_it_moved(moment: type[Moment], *arguments: Any) -> Moment:
    return moment(*arguments)._replace(exact=False)


def _waits_of(inspector: Inspector) -> set[tuple[int, ...]]:
    """The goroutines that wait, and what for."""
    waits = inspector.snapshot(waits=WaitOptions(heap=False)).waits
    assert waits is not None
    address = waits.objects.address[waits.waits.object]
    return {*zip(waits.waits.goroutine.tolist(), address.tolist(), strict=True)}


def test_goroutines_that_wait_are_all_looked_at(program: GoProcess) -> None:
    judged = Judged.of(program, stop=True)
    waiting = {each.id for each in judged.snapshot if each.status == "waiting"}
    assert waiting == set(judged.stuck)


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED_PIE])
@pytest.mark.parametrize(
    "number", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, PROGRAMS))]
)
def test_verdicts_are_those_of_gos_own_profile(number: int, flavour: Flavour) -> None:
    """By goroutine id, in the same process; it is asked afterwards, because asking changes statuses."""
    with GoProcess([build("leaks", NEWEST, flavour)]) as process:
        judged = Judged.of(process, stop=bool(number % 2))
        answer = process.ask("leaked")
    ours = {goroutine for goroutine, stuck in judged.stuck.items() if stuck}
    theirs = {int(text) for text in answer.split()}
    assert len(theirs) > 100
    never(judged.scenarios(ours - theirs))
    assert len(ours) >= 0.98 * len(theirs), judged.scenarios(theirs - ours)


def test_main_may_wait_for_ever(minor: str) -> None:
    """It is stuck, but on purpose: Go's profile does not call it leaked, nor takes its stack as alive."""
    with GoProcess([build("leaks", minor), "forever"]) as process:
        judged = Judged.of(process)
    main = next(each for each in judged.snapshot if each.id == 1)
    assert main.wait_reason == "select (no cases)"
    assert judged.stuck[1] is False
    assert sum(judged.stuck.values()) > 50  # of 120; half of the chain may be missed, see above


def test_with_a_limit_nothing_is_called_stuck(program: GoProcess) -> None:
    """Who is found alive in a part of the heap is alive. One that runs keeps more alive for a moment: see above."""
    for _ in range(TRIES):
        judged = Judged.of(program, options=WaitOptions(heap_limit_bytes=200_000))
        assert not judged.looked_at.heap_complete
        assert 0 < judged.looked_at.heap_bytes <= 200_000
        assert not any(judged.stuck.values())
        others = judged.alive() - Judged.of(program).alive()
        if not others:
            return
    raise AssertionError(judged.places(others))


@in_milestones
def test_what_the_queue_of_finalizers_refers_to_is_alive(minor: str) -> None:
    """A finalizer runs, and the one behind it will wake a goroutine to which nothing else refers."""
    with GoProcess([build("finalizing", minor)]) as process:
        goroutine = int(process.ready_line.split()[1])
        judged = [Judged.of(process, stop) for stop in (False, True)]
        assert process.ask("go") == "woken"
    for each in judged:
        assert goroutine in {one.id for one in each.snapshot}
        assert not any(each.stuck.values())


def test_what_has_a_weak_pointer_may_be_got_hold_of() -> None:
    """Nothing but that pointer refers to it: still the program can wake who waits on it."""
    with GoProcess([build("weak", NEWEST)]) as process:
        judged = Judged.of(process)
        assert process.ask("go") == "woken"
    assert not any(judged.stuck.values())


def test_nothing_is_said_of_waits_that_are_not_followed() -> None:
    """Who waits for a semaphore of a file descriptor is woken by what has it, which may be stuck."""
    with GoProcess([build("blocked", NEWEST)]) as process:
        judged = Judged.of(process)
    waits = judged.snapshot.waits
    assert waits is not None
    kinds = waits.objects.kind[waits.waits.object]
    for kind, looked_at in (("semaphore", False), ("fd", True)):
        goroutines = waits.waits.goroutine[kinds == KINDS.index(kind)].tolist()
        assert goroutines
        assert {each in judged.stuck for each in goroutines} == {looked_at}


@pytest.mark.parametrize("limit", ["_MAX_RECORDS", "_MAX_IN_A_SPAN"])
def test_with_too_many_finalizers_nothing_is_said(
    program: GoProcess, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(specials, limit, 0)
    judged = Judged.of(program)
    assert not any(judged.stuck.values())
    assert judged.looked_at == LookedAt()
    assert any("too many records of finalizers" in str(each) for each in judged.snapshot.problems)


def test_without_the_heap_nothing_is_said(program: GoProcess) -> None:
    judged = Judged.of(program, options=WaitOptions(heap=False))
    assert judged.stuck == {}
    assert judged.looked_at == LookedAt()


def test_what_runs_on_is_told_how_far_it_is(program: GoProcess) -> None:
    parts: list[float] = []
    with spyglass.attach(program.pid) as inspector:
        inspector.snapshot(waits=WaitOptions(progress=parts.append))
    assert parts
    assert parts == sorted(parts)
    assert 0 <= parts[0] <= parts[-1] <= 1


@pytest.mark.slow
def test_nothing_is_stuck_in_a_program_under_load(minor: str) -> None:
    """Requests move through memory while it is read; what is waited for comes within milliseconds."""
    decided = 0
    with GoProcess([build("traffic", minor)]) as process, spyglass.attach(process.pid) as inspector:
        for _ in range(READS):
            judged = Judged.by(inspector)
            stuck = {goroutine for goroutine, stuck in judged.stuck.items() if stuck}
            never(judged.places(stuck))
            decided += len(judged.stuck)
    assert decided > 50 * READS
