from __future__ import annotations

import numpy as np
import pytest

from spyglass.analysis.subset import subset
from spyglass.model import Source
from spyglass.words.account import account
from tests.snapshots import Row, make_snapshot

QUALITIES = ["stable"] * 1_230 + ["moved"] * 3 + ["torn"] + ["unreadable"] * 0
SNAPSHOT = make_snapshot(
    [Row(i + 1, quality=quality) for i, quality in enumerate(QUALITIES)], took_ns=123_456_789
)


def test_all_of_them() -> None:
    assert account(SNAPSHOT, np.arange(1234)) == (
        "1,234 goroutines: 1,230 stable, 3 moved, 1 torn, 0 unreadable; "
        "read in 0.12 s without stopping the program"
    )


def test_some_of_them() -> None:
    assert account(SNAPSHOT, np.arange(1229, 1233), ", the first 2 shown") == (
        "4 of 1,234 goroutines match, the first 2 shown: 1 stable, 3 moved, 0 torn, 0 unreadable; "
        "read in 0.12 s without stopping the program"
    )


def test_the_runtimes_goroutines_are_beside_the_programs() -> None:
    rows = [Row(1), Row(2), Row(3, system=True), Row(4, "dead"), Row(5, system=True)]
    snapshot = make_snapshot(rows)
    for chosen, words in (
        ([0, 1], "2 (+2 runtime) goroutines: 2 stable"),
        ([0, 1, 2, 4], "2 (+2 runtime) goroutines: 4 stable"),
        ([1], "1 of 2 (+2 runtime) goroutines match: 1 stable"),
        ([2], "0 (+1 runtime) of 2 (+2 runtime) goroutines match: 1 stable"),
        ([0, 1, 2], "2 (+1 runtime) of 2 (+2 runtime) goroutines match: 3 stable"),
    ):
        assert account(snapshot, np.array(chosen)).startswith(f"{words}, ")
        part = subset(snapshot, np.array(chosen))
        again = account(part, np.arange(len(chosen)))
        assert again.startswith(f"{words}, ")


@pytest.mark.parametrize(
    ("source", "end"),
    [
        (Source("process", stopped=True), "read in 0.01 s while the program was stopped"),
        (Source("core", stopped=True), "read in 0.01 s"),
    ],
)
def test_whether_the_program_was_stopped(source: Source, end: str) -> None:
    snapshot = make_snapshot([Row(1)], source=source)
    assert account(snapshot, np.arange(1)).endswith(f"; {end}")
