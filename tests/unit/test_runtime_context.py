"""What a reader cannot read becomes a problem, once, and in the list of its own snapshot."""

from __future__ import annotations

import numpy as np
import pytest

from spyglass.errors import BadDataError, MemoryFault, MissingInfo, SpyglassError
from spyglass.model import Problem
from spyglass.runtime.context import MAX_PROBLEMS, Runtime
from spyglass.runtime.discovery.layouts import Layouts
from tests.image import ImageMemory
from tests.support import NEWEST


def runtime() -> Runtime:
    """A runtime of which nothing was found."""
    layouts = Layouts.of("nowhere", {})
    return Runtime(ImageMemory({}), layouts, {}, None, "amd64", f"go{NEWEST}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MissingInfo("no such variable"), "unknown"),
        (MemoryFault(0x1000, 8), "unreadable"),
        (BadDataError("implausible count"), "implausible"),
    ],
)
def test_an_error_of_a_part_becomes_a_problem_of_its_kind(error: SpyglassError, kind: str) -> None:
    subject = runtime()

    def read() -> int:
        raise error

    assert subject.part("memory", read, None, "heap goal") is None
    assert subject.problems == [Problem(kind, "memory", f"heap goal: {error.message}")]


def test_a_part_that_is_read_is_returned() -> None:
    subject = runtime()
    found = subject.part("memory", lambda: np.arange(3), None)
    assert found is not None
    assert found.tolist() == [0, 1, 2]
    assert subject.problems == []


def test_other_errors_are_not_turned_into_problems() -> None:
    with pytest.raises(ZeroDivisionError):
        runtime().part("memory", lambda: 1 // 0, None)


def test_each_reading_has_problems_of_its_own() -> None:
    first = runtime().for_reading([Problem("truncated", "core", "cut short")])
    first.problem("torn", "goroutine 7", "moved")
    second = first.for_reading()
    second.problem("torn", "goroutine 8", "moved")
    assert [problem.subject for problem in first.problems] == ["core", "goroutine 7"]
    assert [problem.subject for problem in second.problems] == ["goroutine 8"]


def test_the_list_of_problems_is_bounded_and_says_so() -> None:
    subject = runtime()
    for number in range(MAX_PROBLEMS + 5):
        subject.problem("torn", f"goroutine {number}", "moved")
    assert len(subject.problems) == MAX_PROBLEMS + 1
    assert subject.problems[-1].kind == "truncated"
