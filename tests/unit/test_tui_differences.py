"""Rows of stacks that end in the same functions are told apart."""

from __future__ import annotations

import pytest

from spyglass.tui.differences import splits
from spyglass.tui.feed import Tick
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.view_state import Model
from tests.snapshots import Row, frame, make_snapshot

LEAF, MAIN = frame("main.leaf", line=1), frame("main.main", line=2)
LEFT, RIGHT = frame("main.left", line=3), frame("main.right", line=4)


def rows_of(*stacks: tuple[object, ...], width: int = 120) -> list[str]:
    rows = [
        Row(n, wait_reason="select", where=stack[0], stack=stack)  # type: ignore[arg-type]
        for n, stack in enumerate(stacks, 1)
    ]
    model = Model("stack")
    model.note(Tick(make_snapshot(rows)))
    shown = page(model, Style(width))
    assert shown.title is not None
    return [shown.title.plain, *(shown.line(number).plain for number in range(len(shown)))]


def test_the_frame_at_which_two_stacks_differ_is_named() -> None:
    title, *rows = rows_of((LEAF, LEFT, MAIN), (LEAF, RIGHT, MAIN))
    assert "differs at" in title
    assert ["#1 main.left:3" in rows[0], "#1 main.right:4" in rows[1]] == [True, True]


def test_a_stack_that_ends_where_another_goes_on() -> None:
    rows = rows_of((LEAF, MAIN), (LEAF, MAIN, LEFT))
    assert "#2 (end)" in rows[1]
    assert "#2 main.left:3" in rows[2]


def test_other_functions_need_no_difference() -> None:
    title, *_ = rows_of((LEAF, MAIN), (LEFT, MAIN))
    assert "differs" not in title
    _, *rows = rows_of((LEAF, MAIN), (LEAF, LEFT), (RIGHT, MAIN))
    assert "#" not in rows[2]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_two_rows_look_alike(width: int) -> None:
    """Eight stacks of which no frame alone tells one from all others."""
    choices = [(frame(f"main.x{n}", line=n), frame(f"main.y{n}", line=n)) for n in (10, 20, 30)]
    stacks = [
        (LEAF, *(choice[number >> bit & 1] for bit, choice in enumerate(choices)), MAIN)
        for number in range(8)
    ]
    rows = rows_of(*stacks, width=width)[1:]
    assert len(set(rows)) == 8


def test_splits_are_where_a_stack_parts_from_others() -> None:
    assert splits(["abc", "abd", "axc"]) == [[1, 2], [1, 2], [1]]
    assert splits(["aa", "aaa", "aaaa"]) == [[2], [2, 3], [2, 3]]
