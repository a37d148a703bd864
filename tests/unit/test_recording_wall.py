"""How long goroutines run, from what readings find and what is sampled."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.runtime.goroutines.fetcher import Again
from spyglass.runtime.recording import wall
from spyglass.runtime.recording.merging import NO_STACK, merged, on_goroutines
from spyglass.runtime.recording.wall import WallRecording, _Places
from tests.made_profiles import SampleRow, make_profile
from tests.snapshots import frame

MS = 1_000_000
SPIN, FAULT, WAIT = frame("main.spin"), frame("main.fault"), frame("main.wait")
WAITING = make_profile([SampleRow((WAIT,), 1000 * MS, 10, 1, state="sleep")])


def times(profile: Profile) -> dict[tuple[int, str], int]:
    """Milliseconds by goroutine and innermost function."""
    samples, found = profile.samples, Counter[tuple[int, str]]()
    for stack, goroutine, value_ns in zip(
        samples.stack.tolist(), samples.goroutine.tolist(), samples.value_ns.tolist(), strict=True
    ):
        begin = int(profile.stack_offsets[stack])
        function = profile.frames[int(profile.stack_frames[begin])].function
        found[goroutine, function] += value_ns // MS
    return dict(found)


def with_running(rows: list[SampleRow], running_ms: dict[int, int]) -> dict[tuple[int, str], int]:
    sampled = make_profile(rows)
    running_ns = {goid: float(ms * MS) for goid, ms in running_ms.items()}
    found = merged(WAITING, sampled, on_goroutines(sampled), running_ns)
    return {key: ms for key, ms in times(found).items() if key[0] != 1}


def test_each_goroutine_runs_for_its_own_time() -> None:
    rows = [SampleRow((SPIN,), 980 * MS, 98, 7), SampleRow((FAULT,), 10 * MS, 1, 8)]
    assert with_running(rows, {7: 1000, 8: 1000}) == {
        (7, "main.spin"): 1000,
        (8, "main.fault"): 1000,
    }


def test_of_what_was_not_sampled_the_stack_is_not_known() -> None:
    rows = [SampleRow((SPIN,), 1000 * MS, 100, 7)]
    expected = {(7, "main.spin"): 1000, (8, NO_STACK.function): 900}
    assert with_running(rows, {7: 1000, 8: 900}) == expected
    assert with_running([], {8: 900}) == {(8, NO_STACK.function): 900}


def test_of_goroutines_of_short_lives_there_is_no_more_than_readings_found() -> None:
    """Samples found others than readings did."""
    rows = [SampleRow((SPIN,), 10 * MS, 1, goid) for goid in range(100, 200)]
    found = with_running(rows, dict.fromkeys(range(200, 210), 110))
    assert sum(found.values()) == 1100
    assert {found[goid, "main.spin"] for goid in range(100, 200)} == {10}


def test_goroutines_that_run_without_a_stop_are_counted_by_each_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording: Any = object.__new__(WallRecording)
    pointers = np.array([0x100, 0x200], np.uint64)
    again = Again(np.ones(2, np.bool_), np.ones((2, 1), np.uint64), np.array([True, False]))

    def read(pointers: Any, _: bool) -> Any:
        return SimpleNamespace(pointers=pointers)

    def rows_of(read: Any, ran: Any) -> Any:
        recording._ran = (read.pointers[ran] >> np.uint64(8)).tolist()
        return np.where(ran[:, None], NONE, np.zeros((len(ran), 4), np.int64))

    monkeypatch.setattr(wall, "g_pointers", lambda _: pointers)
    recording.__dict__.update(
        _renew=lambda: None, _add=lambda *_: None, _rows_of=rows_of, _scratch=None,
        _reader=SimpleNamespace(again=lambda _: again, read=read, counts_stops=True),
        _signatures=None, _pointers=np.zeros(0, np.uint64), _places=_Places(0), _last_ns=0,
        _readings=0, _samples=0, _ran=[], _running_ns=Counter(),
    )  # fmt: skip
    for now_ns in (100, 250, 300):
        monkeypatch.setattr("time.monotonic_ns", lambda now_ns=now_ns: now_ns)
        recording._read_all()
    assert dict(recording._running_ns) == {1: 300}
