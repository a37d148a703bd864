"""pprof labels: what is read of them, and what the program itself reads of them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import spyglass
from fixtures.build import PROGRAMS, go_environment
from spyglass.model import UNREAD, Problem, Snapshot
from spyglass.runtime.discovery import layouts
from spyglass.runtime.goroutines.labels import LabelReader
from tests.agreement import never
from tests.support import Flavour, GoProcess, in_ends, in_milestones, start, toolchain

pytestmark = pytest.mark.live

Labels = Mapping[str, str]

#: A key of a Go string in quotes (strconv.Quote), and its value.
_PAIR = re.compile(r'("(?:[^"\\]|\\.)*"):("(?:[^"\\]|\\.)*")')
_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


@dataclass(frozen=True)
class Looked:
    """What a process says of its labels, and what was seen of them."""

    said: dict[int, Labels]
    profile: str
    full: Snapshot
    top: Snapshot


@pytest.fixture(scope="module", params=[Flavour.EXE, Flavour.STRIPPED], ids=lambda each: each.value)
def looked(minor: str, request: pytest.FixtureRequest) -> Iterator[Looked]:
    with start("labels", minor, request.param) as process:
        said, profile = said_by(process), json.loads(process.ask("profile"))
        with spyglass.attach(process.pid) as program:
            yield Looked(said, profile, program.snapshot("full"), program.snapshot("top"))


def said_by(process: GoProcess) -> dict[int, Labels]:
    """The labels that each goroutine that tells them has found to be its own, by its id."""
    return {
        int(goid): {from_hex(key): from_hex(value) for key, value in labels.items()}
        for goid, labels in json.loads(process.ask("labels")).items()
    }


def from_hex(text: str) -> str:
    return bytes.fromhex(text).decode("utf-8", "backslashreplace")


def look(process: GoProcess) -> Snapshot:
    with spyglass.attach(process.pid) as program:
        return program.snapshot("top")


def seen(snapshot: Snapshot, among: Iterable[int]) -> dict[int, Labels]:
    return {each.id: each.labels for each in snapshot if each.id in set(among)}


def test_every_goroutine_has_the_labels_that_it_reads_itself(looked: Looked) -> None:
    assert len(looked.said) > 140
    assert seen(looked.full, looked.said) == looked.said
    assert seen(looked.top, looked.said) == looked.said
    assert looked.full.problems == looked.top.problems == ()


def test_no_other_goroutine_has_labels(looked: Looked) -> None:
    assert [each for each in looked.full if each.labels and each.id not in looked.said] == []


def test_labels_are_those_of_the_goroutine_profile(looked: Looked) -> None:
    """Which tells not whose they are, but in the words of the runtime's own decoding."""
    told = labels_of_profile(looked.profile)
    assert told.total() > 140
    assert told == Counter(frozenset(each.labels.items()) for each in looked.full if each.labels)


def labels_of_profile(profile: str) -> Counter[frozenset[tuple[str, str]]]:
    """How many goroutines have each set, from the text of ``pprof.Profile.WriteTo(w, 1)``."""
    found: Counter[frozenset[tuple[str, str]]] = Counter()
    for block in profile.split("\n\n"):
        count = re.search(r"^(\d+) @", block, re.MULTILINE)
        labels = re.search(r"^# labels: \{(.*)\}$", block, re.MULTILINE)
        if count and labels and labels[1]:
            pairs = _PAIR.findall(labels[1])
            found[frozenset((unquoted(k), unquoted(v)) for k, v in pairs)] += int(count[1])
    return found


def unquoted(quoted: str) -> str:
    """A Go string literal; Python's is the same but for bytes that are not text."""
    text = ast.literal_eval(_BYTE.sub(r"\\\\x\1", quoted))
    assert isinstance(text, str)
    return text


def test_equal_sets_are_one_and_those_without_labels_have_none(looked: Looked) -> None:
    sets = [frozenset(labels.items()) for labels in looked.full.label_sets]
    assert len(set(sets)) == len(sets)
    assert frozenset() not in sets
    assert set(sets) == {frozenset(labels.items()) for labels in looked.said.values() if labels}
    column = looked.full.goroutines.labels.tolist()
    by_all = sets.index(frozenset({("shared", "by all"), ("of", "them")}))
    assert column.count(by_all) == 50
    assert sorted(number for number in set(column) if number >= 0) == list(range(len(sets)))


def test_what_is_beyond_any_measure_is_cut_off_and_that_is_said(minor: str) -> None:
    with start("labels", minor, Flavour.EXE, "-beyond") as process:
        said = said_by(process)
        snapshot = look(process)
    found = seen(snapshot, said)
    large = {goid for goid, labels in said.items() if len(labels) > 256}
    long = {goid for goid, labels in said.items() if longest(labels) > 4096}
    assert (len(large), len(long)) == (2, 2)
    for goid in large:
        assert 128 < len(found[goid]) <= 256
        assert found[goid].items() <= said[goid].items()
    for goid in long:
        assert found[goid] == {k[:4096]: v[:4096] for k, v in said[goid].items()}
    rest = said.keys() - large - long
    assert {goid: found[goid] for goid in rest} == {goid: said[goid] for goid in rest}
    detail = "4 goroutines have more of them, or longer ones, than are shown"
    assert snapshot.problems == (Problem("truncated", "labels", detail),)


def longest(labels: Labels) -> int:
    return max(map(len, [*labels, *labels.values()]), default=0)


@pytest.mark.parametrize("source", ["table", "DWARF", "type descriptors"])
def test_every_source_of_layouts_leads_to_the_same_labels(
    minor: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = layouts.candidate_layouts

    def some(*arguments: object) -> Iterator[layouts.Layouts]:
        yield from (each for each in every(*arguments) if each.source.startswith(source))  # type: ignore[arg-type]

    with start("labels", minor) as process:
        said = said_by(process)
        monkeypatch.setattr(layouts, "candidate_layouts", some)
        assert seen(look(process), said) == said


@pytest.fixture(params=[0, 0.05], ids=["at once", "late"])
def delay_seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Sets of labels are read so long after the pointers to them, as on a machine that is busy."""
    seconds: float = request.param
    read = LabelReader.read

    def late(self: LabelReader, rows: NDArray[Any]) -> NDArray[np.int32]:
        time.sleep(seconds)
        return read(self, rows)

    monkeypatch.setattr(LabelReader, "read", late)
    return seconds


@in_milestones
def test_labels_that_change_all_the_time_are_true_or_unread(
    minor: str, delay_seconds: float
) -> None:
    """What was there is collected and used again: only who has the labels still is believed."""

    def is_enough(known: Counter[str]) -> bool:
        return known["stable"] + known["moved"] > (0 if delay_seconds else known["unread"])

    known: Counter[str] = Counter()
    with start("labels", minor, Flavour.EXE, "-churn", "400") as process:
        began = time.monotonic()
        with spyglass.attach(process.pid) as program:
            while time.monotonic() < began + 3 or not (
                is_enough(known) or time.monotonic() > began + 20
            ):
                snapshot = program.snapshot("top")
                labelled = [each for each in snapshot if each.labels]
                never([each for each in labelled if not belongs_together(each.labels)])
                known.update(each.quality for each in labelled)
                known["unread"] += int((snapshot.goroutines.labels == UNREAD).sum())
    assert is_enough(known), known


def belongs_together(labels: Labels) -> bool:
    """As `churn` of the program makes them: each value says how many there are, and when."""
    marks = set(labels.values())
    count = re.fullmatch(r"(\d+) at \d+", marks.pop())
    return count is not None and not marks and labels.keys() == keys(int(count[1]))


def keys(count: int) -> set[str]:
    return {f"key {i}" for i in range(count)}


@in_ends
@pytest.mark.slow
def test_many_sets_are_read_in_little_time(minor: str) -> None:
    with start("labels", minor, Flavour.EXE, "-sets", "100000") as process:
        snapshot = look(process)
    requests = [each.labels for each in snapshot if each.labels]
    assert len(snapshot.label_sets) == len(requests) == 100_000
    assert {labels["request"] for labels in requests} == {
        f"{i:08x}-{i % 7919:04x}" for i in range(100_000)
    }
    assert all(labels.keys() == {"handler", "request", "tenant"} for labels in requests)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-ldflags=-s -w"]], ids=["exe", "stripped"])
def test_labels_are_not_taken_for_maps_where_only_maps_are_of_the_old_kind(
    flags: list[str], tmp_path: Path
) -> None:
    """Go 1.24 and 1.25 can be told to use the maps that labels were before."""
    program = tmp_path / "labels"
    subprocess.run(
        [toolchain("1.24"), "build", "-o", program, *flags, "labels.go", "protocol.go"],
        cwd=PROGRAMS,
        env=go_environment() | {"GOEXPERIMENT": "noswissmap"},
        check=True,
    )
    with GoProcess([program]) as process:
        said = said_by(process)
        snapshot = look(process)
    assert "noswissmap" in (snapshot.process.go_version or "")
    assert seen(snapshot, said) == said
