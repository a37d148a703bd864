"""Processes that are replaced while they are read: an answer of one of them, or one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agreement import never
from tests.soak.commands import wrong_end
from tests.soak.replaced import replace_often

pytestmark = pytest.mark.live


@pytest.mark.slow
def test_commands_end_well_while_their_process_is_replaced(tmp_path: Path) -> None:
    tally = replace_often(tmp_path, 24)
    never(tally.wrong)
    assert tally.rounds.total() == 24


@pytest.mark.parametrize(
    ("code", "errors"),
    [
        (-11, ""),
        (2, "spyglass: no such option\n"),
        (1, ""),
        (1, "spyglass: internal error: IndexError. please report what --debug shows\n"),
        (0, "Traceback (most recent call last):\n"),
    ],
)
def test_an_end_without_an_answer_and_without_a_line_is_wrong(code: int, errors: str) -> None:
    assert wrong_end(code, errors)


def test_an_answer_and_a_line_are_right() -> None:
    assert wrong_end(0, "32 goroutines: 1 torn\n") is None
    assert wrong_end(1, "spyglass: process 1 ended while it was read. run spyglass again\n") is None
