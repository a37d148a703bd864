from __future__ import annotations

import pytest

from spyglass.model import NONE, QUALITIES, STATUSES
from spyglass.words.states import quality_mark, state_at, state_colour, state_words
from tests.snapshots import Row, make_snapshot


def test_state_words_are_those_of_a_traceback() -> None:
    assert state_words("waiting", "chan receive") == "chan receive"
    assert state_words("waiting", None) == "waiting"
    assert state_words("leaked", "chan send") == "chan send (leaked)"
    assert state_words("leaked", None) == "leaked"
    assert state_words("syscall", None) == "syscall"


def test_a_state_by_its_columns() -> None:
    snapshot = make_snapshot([Row(1, "leaked", wait_reason="chan send"), Row(2, "running")])
    g = snapshot.goroutines
    states = [state_at(snapshot, int(g.status[row]), int(g.wait_reason[row])) for row in (0, 1)]
    assert states == ["chan send (leaked)", "running"]
    assert state_at(snapshot, STATUSES.index("waiting"), NONE) == "waiting"


def test_only_doubtful_qualities_are_marked() -> None:
    marks = [quality_mark(QUALITIES.index(quality)) for quality in QUALITIES]
    assert marks == ["", "", " (torn)", " (unreadable)"]


@pytest.mark.parametrize(
    ("state", "colour"),
    [
        ("running", "green"),
        ("running (2 doubtful)", "green"),
        ("syscall +2", "magenta"),
        ("runnable", "cyan"),
        ("chan receive", ""),
        ("", ""),
    ],
)
def test_the_colour_of_a_state(state: str, colour: str) -> None:
    assert state_colour(state) == colour
