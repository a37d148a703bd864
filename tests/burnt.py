"""Recordings of fixtures/programs/burners.go, whose goroutines say when which of them lived."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import spyglass
from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.runtime.recording.cpu import CpuRecording
from spyglass.runtime.recording.sampled_stacks import Walks
from spyglass.runtime.recording.witness import Noted
from tests.support import Flavour, GoProcess, start

__all__ = ["Burnt", "burn"]

#: As in the program.
_RING = 1 << 20


@dataclass(frozen=True)
class Life:
    kind: int
    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class Attributed:
    """A sample of a goroutine that burns: of which kind its stack says it is, when it was taken, and whose it was
    found to be. `between`: between its birth and its death as it notes them, not just before or behind."""

    kind: int
    time_ns: int
    goid: int
    between: bool


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

    def wrong_labels(self) -> Counter[tuple[str, str]]:
        """Samples by the kind that the stack says and that the labels say, where these differ."""
        wrong: Counter[tuple[str, str]] = Counter()
        samples = self.profile.samples
        for stack, count, labels in zip(samples.stack, samples.count, samples.labels, strict=True):
            kinds = [
                frame.function[-1]
                for frame in self.profile.stack(int(stack))
                if frame.function.startswith("main.spin")
            ]
            if kinds and labels != NONE:
                said = self.profile.label_sets[int(labels)]["kind"]
                wrong[kinds[0], said] += int(count) * (said != kinds[0])
        return +wrong

    def _fits(self, sample: Attributed) -> bool:
        life = self.lives[sample.goid % _RING]
        ends_ns = life.end_ns or time.monotonic_ns()
        lived = life.begin_ns <= sample.time_ns <= ends_ns
        return life.kind == sample.kind and (lived or not sample.between)


def burn(minor: str, *arguments: str, seconds: float, rate_hz: float, path: Path) -> Burnt:
    """A recording of burners.go with `arguments`, of Go `minor`; `path` is a file that the program may write."""
    with start("burners", minor, Flavour.EXE, *arguments) as process, _noted() as samples:
        with spyglass.attach(process.pid) as program:
            profile = program.record(seconds, rate_hz=rate_hz)
        return Burnt(profile, samples, _lives_of(process, path))


@contextmanager
def _noted() -> Iterator[list[Attributed]]:
    """The samples of goroutines that burn, as they are folded meanwhile."""
    samples: list[Attributed] = []
    find = CpuRecording._goroutine

    def noting(self: CpuRecording, noted: Noted, walks: Walks, row: int) -> tuple[int, int]:
        found = find(self, noted, walks, row)
        tree = self._walker.tree
        names = [tree.code.frames[at].function for at in tree.frames(int(walks.node[row]))[0]]
        kinds = [name for name in names if name.startswith("main.spin")]
        if kinds:
            at_ns, is_noted = noted.sample.time_ns, "main.work" in names
            samples.append(Attributed(int(kinds[0][-1]), at_ns, found[0], is_noted))
        return found

    with mock.patch.object(CpuRecording, "_goroutine", noting):
        yield samples


def _lives_of(process: GoProcess, path: Path) -> dict[int, Life]:
    assert process.ask(str(path)) == "written"
    rows = (map(int, line.split()) for line in path.read_text().splitlines())
    return {place: Life(*life) for place, *life in rows}
