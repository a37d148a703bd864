"""Recordings of live programs, against what the programs know of themselves."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import spyglass
from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.runtime.recording.cpu import CpuRecording
from spyglass.runtime.recording.sampled_stacks import Walks
from spyglass.runtime.recording.witness import Noted
from tests.support import Flavour, GoProcess, start

pytestmark = pytest.mark.live

#: As in fixtures/programs/burners.go.
RING = 1 << 20
RATE_HZ, SECONDS = 499, 3


@dataclass(frozen=True)
class Life:
    kind: int
    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class Attributed:
    """A sample of a goroutine that burns: of which kind its stack says it is, when it was taken, and whose it was
    found to be."""

    kind: int
    time_ns: int
    goid: int


@dataclass(frozen=True)
class Burnt:
    """A recording of burners.go: its profile, its samples, and when its goroutines lived."""

    profile: Profile
    samples: list[Attributed]
    lives: dict[int, Life]

    @property
    def certain(self) -> float:
        """The share of the samples whose goroutine is known."""
        return sum(each.goid != NONE for each in self.samples) / len(self.samples)

    def wrong(self) -> list[Attributed]:
        """The samples that were given to a goroutine of another kind, or that did not live then."""
        return [each for each in self.samples if each.goid != NONE and not self._fits(each)]

    def _fits(self, sample: Attributed) -> bool:
        life = self.lives[sample.goid % RING]
        ends_ns = life.end_ns or time.monotonic_ns()
        return life.kind == sample.kind and life.begin_ns <= sample.time_ns <= ends_ns


def burn(minor: str, *arguments: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Burnt:
    """A recording of burners.go with `arguments`."""
    samples: list[Attributed] = []
    find = CpuRecording._goroutine

    def noting(self: CpuRecording, noted: Noted, walks: Walks, row: int) -> tuple[int, int]:
        found = find(self, noted, walks, row)
        tree = self._walker.tree
        names = [tree.code.frames[at].function for at in tree.frames(int(walks.node[row]))[0]]
        kinds = [name for name in names if name.startswith("main.spin")]
        if kinds and "main.work" in names:
            samples.append(Attributed(int(kinds[0][-1]), noted.sample.time_ns, found[0]))
        return found

    monkeypatch.setattr(CpuRecording, "_goroutine", noting)
    with start("burners", minor, Flavour.EXE, *arguments) as process:
        with spyglass.attach(process.pid) as program:
            profile = program.record(SECONDS, rate_hz=RATE_HZ)
        return Burnt(profile, samples, lives_of(process, folder / "lives"))


def lives_of(process: GoProcess, path: Path) -> dict[int, Life]:
    assert process.ask(str(path)) == "written"
    rows = (map(int, line.split()) for line in path.read_text().splitlines())
    return {place: Life(*life) for place, *life in rows}


@pytest.mark.parametrize("arguments", [(), ("-arguments",)], ids=["plain", "arguments"])
@pytest.mark.parametrize("life", ["100us", "1ms", "10ms", "100ms"])
@pytest.mark.matrix
def test_no_sample_is_given_to_another_goroutine(
    minor: str,
    life: str,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    burnt = burn(minor, "-life", life, *arguments, monkeypatch=monkeypatch, folder=tmp_path)
    assert len(burnt.samples) > 100
    assert burnt.wrong() == []
    assert wrong_labels(burnt.profile) == Counter()


def wrong_labels(profile: Profile) -> Counter[tuple[str, str]]:
    """Samples by the kind that the stack says and that the labels say, where these differ."""
    wrong: Counter[tuple[str, str]] = Counter()
    samples = profile.samples
    for stack, count, labels in zip(samples.stack, samples.count, samples.labels, strict=True):
        kinds = [
            frame.function[-1]
            for frame in profile.stack(int(stack))
            if frame.function.startswith("main.spin")
        ]
        if kinds and labels != NONE:
            said = profile.label_sets[int(labels)]["kind"]
            wrong[kinds[0], said] += int(count) * (said != kinds[0])
    return +wrong
