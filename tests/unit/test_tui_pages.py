"""The rows of the view's pages: what they show, and their order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spyglass.model import Frame
from spyglass.tui.feed import Tick
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.view_state import Level, Model
from tests.snapshots import Row, frame, make_snapshot

#: In an order of first appearance that is not the order of their names.
ZOO, APE, BEE = frame("main.zoo", line=1), frame("main.ape", line=2), frame("main.bee", line=3)


def goroutines_of(rows: Sequence[Row], sort: tuple[str, bool] = ("id", False)) -> list[str]:
    """The lines of the page of all goroutines of `rows`, which are one group."""
    model = Model("label:none")
    model.note(Tick(make_snapshot(rows)))
    model.levels.append(Level("goroutines", model.rows[0].key))
    model.sort["goroutines"] = sort
    shown = page(model, Style(160))
    return [shown.line(number).plain for number in range(len(shown))]


def ids(lines: Sequence[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


def test_a_start_function_is_marked_as_such() -> None:
    lines = goroutines_of([Row(1, where=None, start=APE), Row(2, where=BEE, start=APE), Row(3)])
    assert "main.ape (start)" in lines[0]
    assert "main.bee" in lines[1]
    assert "(start)" not in lines[1] + lines[2]


def test_a_leaked_goroutine_is_said_to_be_leaked() -> None:
    lines = goroutines_of([Row(1, "leaked", wait_reason="chan send")])
    assert "chan send (leaked)" in lines[0]
    model = Model()
    model.note(Tick(make_snapshot([Row(1, "leaked", wait_reason="chan send", stack=(APE,))])))
    model.levels.append(Level("stack", 1))
    shown = page(model, Style(160))
    assert shown.line(0).plain == "goroutine 1 [chan send (leaked)]"


def test_the_stack_page_without_a_stack_names_the_start_function() -> None:
    model = Model()
    model.note(Tick(make_snapshot([Row(1, "running", start=APE), Row(2, stack=(BEE,))])))
    model.levels.append(Level("stack", 1))
    shown = page(model, Style(80))
    lines = [shown.line(number).plain for number in range(len(shown))]
    assert lines[1:3] == ["stack not known", "started in main.ape"]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("name", "rows", "ordered"),
    [
        ("where", [Row(1, where=ZOO), Row(2, where=APE), Row(3, where=BEE)], [2, 3, 1]),
        ("where", [Row(1, where=BEE), Row(2, where=None, start=APE)], [2, 1]),
        ("creator", [Row(1, creator=ZOO), Row(2, creator=APE), Row(3, creator=BEE)], [2, 3, 1]),
        ("state", [Row(1, wait_reason="select"), Row(2, "running"), Row(3, wait_reason="IO wait")],
         [3, 2, 1]),
        ("labels", [Row(1, labels={"k": "z"}), Row(2, labels={"k": "a"}), Row(3, labels={"k": "m"})],
         [2, 3, 1]),
    ],
)  # fmt: skip
def test_goroutines_are_sorted_by_what_is_shown(
    name: str, rows: list[Row], ordered: list[int], descending: bool
) -> None:
    found = ids(goroutines_of(rows, (name, descending)))
    assert found == (ordered[::-1] if descending else ordered)


def test_goroutines_with_one_text_stay_in_the_order_of_their_ids() -> None:
    """Frames of one function are many, one for each pc."""
    again = frame("main.ape", line=9)
    rows = [Row(3, where=again), Row(1, where=BEE), Row(2, where=APE)]
    assert ids(goroutines_of(rows, ("where", False))) == [2, 3, 1]
    assert ids(goroutines_of(rows, ("where", True))) == [1, 2, 3]


@pytest.mark.parametrize("by", ["function", "creator"])
def test_groups_are_sorted_by_what_is_shown(by: str) -> None:
    def row(goid: int, place: Frame) -> Row:
        return Row(goid, where=place, creator=place)

    model = Model(by)
    model.note(Tick(make_snapshot([row(1, ZOO), row(2, APE), row(3, BEE)])))
    model.sort["groups"] = ("where", False)
    shown = page(model, Style(160))
    names = [shown.line(number).plain for number in range(len(shown))]
    assert ["main.ape" in names[0], "main.bee" in names[1], "main.zoo" in names[2]] == [True] * 3


LOCK = frame("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go", 46)
CALLING = [
    *(Row(n, wait_reason="sync.Mutex.Lock", where=ZOO, call=LOCK) for n in (1, 2)),
    Row(3, wait_reason="sync.Mutex.Lock", where=APE, call=LOCK),
    Row(4, "running", where=BEE),
]


def groups_of(rows: Sequence[Row], width: int | None, by: str = "function") -> list[str]:
    model = Model(by)
    model.note(Tick(make_snapshot(rows)))
    shown = page(model, Style(width))
    assert shown.title is not None
    return [shown.title.plain, *(shown.line(number).plain for number in range(len(shown)))]


def test_in_a_narrow_terminal_the_call_of_a_group_follows_its_function() -> None:
    title, zoo, ape, bee = groups_of(CALLING, 80)
    assert "call" not in title
    assert zoo.endswith("main.zoo in sync.(*Mutex).Lock")
    assert ape.endswith("main.ape in sync.(*Mutex).Lock")
    assert bee.endswith("main.bee")


@pytest.mark.parametrize("width", [120, 200])
def test_in_a_wide_terminal_calls_have_a_column(width: int) -> None:
    title, zoo, _, bee = groups_of(CALLING, width)
    column = title.index("call")
    assert zoo[column:].startswith("sync.(*Mutex).Lock")
    assert "main.zoo in" not in zoo
    assert bee[column : column + 10].strip() == ""


def test_the_cells_of_a_group_name_what_is_true_of_all_its_goroutines() -> None:
    other = frame("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go", 90)
    again = frame("main.ape", line=9)
    rows = [Row(n, "running", where=ZOO, call=LOCK, creator=BEE) for n in (1, 2)]
    rows += [Row(n, "running", where=APE, call=other, creator=BEE) for n in (3, 4)]
    line = groups_of(rows, 200, "state")[1]
    assert "2 functions" in line
    assert "sync.(*Mutex).Lock" in line
    assert "2 lines" in line
    assert "main.bee" in line
    assert "main.ape" not in line
    rows += [Row(5, "running", where=again, creator=ZOO), Row(6, "running", where=again)]
    line = groups_of(rows, 200, "state")[1]
    assert "1 call or none" in line
    assert "2 creators or none" in line
    line = groups_of(rows[2:4] + rows[5:], 200, "function")[1]
    assert "main.ape" in line


@pytest.mark.parametrize(("width", "text"), [(80, "2 states"), (160, "2 select, 1 running")])
def test_the_states_of_a_group_are_all_named_or_counted(width: int, text: str) -> None:
    rows = [Row(n, wait_reason="select", where=APE) for n in (1, 2)]
    assert f" {text} " in groups_of([*rows, Row(3, "running", where=APE)], width)[1]


@pytest.mark.parametrize(
    ("width", "text"), [(80, "main.zoo in sync.(*"), (140, "sync.(*Mutex).Lock")]
)
def test_a_goroutine_has_its_call(width: int, text: str) -> None:
    model = Model("state")
    model.note(Tick(make_snapshot(CALLING)))
    model.levels.append(Level("goroutines", model.rows[0].key))
    shown = page(model, Style(width))
    assert text in shown.line(0).plain


def test_goroutines_of_one_function_are_sorted_by_their_calls() -> None:
    other = frame("net.(*conn).Read")
    rows = [Row(1, where=ZOO, call=LOCK), Row(2, where=ZOO, call=other), Row(3, where=ZOO)]
    assert ids(goroutines_of(rows, ("call", False))) == [3, 2, 1]
