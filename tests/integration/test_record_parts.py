"""Recordings of processor time that are taken in parts while they run."""

from __future__ import annotations

import pytest

import spyglass
from spyglass.profile import Profile
from spyglass.runtime.recording.cpu import CpuRecording
from tests.support import NEWEST, Flavour, start

pytestmark = [pytest.mark.go, pytest.mark.live]


def test_the_parts_of_a_recording_are_the_whole() -> None:
    hot = start("hot", NEWEST, Flavour.STRIPPED)
    with (
        hot as process,
        spyglass.attach(process.pid) as program,
        program.recording(rate_hz=199) as recording,
    ):
        assert isinstance(recording, CpuRecording)
        parts: list[Profile] = []
        for _ in range(2):
            while recording.progress().samples <= sum(part.account.samples for part in parts) + 30:
                recording.step(0.1)
            parts.append(recording.part())
        whole = recording.finish()
    accounts = [part.account for part in parts]
    assert all(each.samples > 30 for each in accounts)
    for part in (*parts, whole):
        assert len(part.stack_offsets) - 1 == len(set(part.samples.stack.tolist()))
    for part, account in zip(parts, accounts, strict=True):
        assert part.samples.count.sum() == account.samples
        assert part.samples.value_ns.sum() == account.cpu_sampled_ns
        assert (account.goroutine_known or 0) <= account.samples
        assert 0 < (account.cpu_used_ns or 0) < part.duration_ns * 3
    assert (
        whole.account.samples == sum(each.samples for each in accounts) + whole.samples.count.sum()
    )
    assert sum(part.duration_ns for part in parts) <= whole.duration_ns
