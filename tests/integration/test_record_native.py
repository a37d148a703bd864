"""Samples in C and in the kernel, against what fixtures/programs/native.go calls."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import spyglass
from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.threads.kernel_symbols import KERNEL
from tests.integration.test_record import hurried, with_other_work
from tests.support import MATRIX, Flavour, in_milestones, start

pytestmark = pytest.mark.live

_SAMPLES, _MAX_SECONDS, _RATE_HZ = 500, 8, 499
#: Kinds of calls that keep frame pointers; the others use that register as a number.
_WITH_FRAMES = "01"
_CHAINS = [
    ["inner", "middle", "outer"],
    ["inner", "outer"],
    ["middle", "outer"],
    ["middle"],
    ["outer"],
]
_CALLERS = ("runtime.cgocall", "main._Cfunc_outer", "[callers not known]")


class InC(NamedTuple):
    """Samples in C: the function's kind, its names from the innermost on, the rest of the stack, and whose it is."""

    kind: str
    functions: list[str]
    callers: list[str]
    label: str | None
    goroutine: int
    number: int


def record(minor: str, *arguments: str, native: bool = True) -> Profile:
    """A recording of native.go until it has some hundred samples: others may use the processors meanwhile."""
    calling = start("native", minor, Flavour.EXE, *arguments)
    with (
        hurried(),
        calling as process,
        spyglass.attach(process.pid) as program,
        program.recording(rate_hz=_RATE_HZ, native=native) as recording,
    ):
        until = time.monotonic() + _MAX_SECONDS
        while recording.step(0.2).samples < _SAMPLES and time.monotonic() < until:
            pass
        return recording.finish()


def samples_in_c(profile: Profile) -> Iterator[InC]:
    samples = profile.samples
    rows = zip(samples.stack, samples.labels, samples.goroutine, samples.count, strict=True)
    for stack, labels, goroutine, count in rows:
        names = [frame.function for frame in profile.stack(int(stack))]
        names = [name for name in names if not name.startswith(KERNEL)]
        matches = [re.search(r"!(inner|middle|outer)(\d)$", name) for name in names]
        found = [match for match in matches if match]
        if found:
            label = profile.label_sets[int(labels)]["kind"] if labels != NONE else None
            functions = [match[1] for match in found]
            callers = names[len(found) :]
            yield InC(found[0][2], functions, callers, label, int(goroutine), int(count))


def is_wrong(sample: InC) -> bool:
    """Whether it was given to a goroutine, or to callers, of another kind."""
    called_by = {name[-1] for name in sample.callers if name.startswith("main.call")}
    return sample.label not in (None, sample.kind) or not called_by <= {sample.kind}


@in_milestones
@pytest.mark.parametrize(
    "arguments",
    [("-call", "50ms"), ("-call", "200us"), ("-call", "200us", "-short")],
    ids=["long calls", "short calls", "short goroutines"],
)
@pytest.mark.matrix
@with_other_work
def test_no_sample_in_c_is_given_to_another_goroutine_or_caller(
    minor: str, arguments: tuple[str, ...]
) -> None:
    found = list(samples_in_c(record(minor, *arguments)))
    if wrong := [sample for sample in found if is_wrong(sample)]:
        pytest.fail(f"wrong: {wrong}")
    counts: Counter[str] = Counter()
    for sample in found:
        counts["all"] += sample.number
        counts["known"] += sample.number * (sample.goroutine != NONE)
        counts["called"] += sample.number * ("main.lane" in sample.callers)
    assert counts["all"] > 100
    if "50ms" in arguments:
        assert counts["known"] > 0.5 * counts["all"]
        assert counts["called"] > 0.5 * counts["all"]


@pytest.mark.matrix
@with_other_work
def test_callers_in_c_are_those_that_frame_pointers_tell(minor: str) -> None:
    found = list(samples_in_c(record(minor)))
    kinds: Counter[str] = Counter()
    for sample in found:
        kinds[sample.kind] += sample.number
        # Where a function begins and ends it has no frame of its own: its caller is left out.
        expected = _CHAINS if sample.kind in _WITH_FRAMES else [["outer"]]
        if sample.functions not in expected or not sample.callers[0].startswith(_CALLERS):
            pytest.fail(f"wrong: {sample}")
    assert set(kinds) == set("0123")
    whole = sum(each.number for each in found if each.functions == _CHAINS[0])
    assert whole > 0.9 * (kinds["0"] + kinds["1"])


def test_without_native_there_is_only_the_innermost_function_of_c_and_no_kernel() -> None:
    profile = record(MATRIX[-1], native=False)
    assert not [
        frame for frame in profile.frames if frame.function.startswith((KERNEL, "[callers"))
    ]
    assert {len(sample.functions) for sample in samples_in_c(profile)} == {1}


@with_other_work
def test_what_the_kernel_does_is_on_top_of_the_system_call() -> None:
    profile = record(MATRIX[-1], "-reading")
    if any(problem.subject == "kernel" for problem in profile.problems):
        pytest.skip("this user may not sample the kernel")
    in_read = 0
    for stack, count in zip(profile.samples.stack, profile.samples.count, strict=True):
        names = [frame.function for frame in profile.stack(int(stack))]
        of_kernel = [name.startswith(KERNEL) for name in names]
        assert of_kernel == sorted(of_kernel, reverse=True)
        if "main.readForever" in names and any(of_kernel):
            is_read = f"{KERNEL}!vfs_read" in names or names[0] == KERNEL
            in_read += int(count) * is_read
            assert not is_read or "yscall" in names[of_kernel.count(True)]
    assert in_read > 0.5 * profile.account.samples


@pytest.mark.parametrize("minor", sorted({MATRIX[0], MATRIX[-1]}))
@with_other_work
@pytest.mark.slow
def test_time_in_c_is_counted_once_where_goroutines_are_read(minor: str) -> None:
    calling = start("native", minor, Flavour.EXE, "-call", "20ms")
    with calling as process, spyglass.attach(process.pid) as program:
        profile = program.record(2, mode="wall", rate_hz=20, native=True)
    samples = profile.samples
    callers = {
        int(goroutine)
        for stack, goroutine in zip(samples.stack, samples.goroutine, strict=True)
        if profile.stack(int(stack))[-1].function == "main.lane" and goroutine != NONE
    }
    assert len(callers) == 4
    for goroutine in callers:
        value_ns = samples.value_ns[samples.goroutine == goroutine].sum()
        assert value_ns == pytest.approx(profile.duration_ns, rel=0.1)
