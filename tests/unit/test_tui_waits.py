"""What goroutines wait on in the view: its column, and the page of a goroutine that leads to holders."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual.pilot import Pilot

from spyglass.model import Snapshot
from spyglass.tui.feed import Tick
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.view_state import Level, Model
from spyglass.wait_graph import Connection
from tests.scripted import app_of, screen, ticks_of, until
from tests.snapshots import Row, frame, make_snapshot
from tests.unit.test_tui_app import play
from tests.wait_things import Held, Thing, make_graph

GET, REFRESH, QUERY, ASK = map(frame, ("main.get", "main.refresh", "main.query", "main.ask"))
PEER = Connection("socket:tcp", "10.0.0.1:4000", "10.0.3.7:5432")
THINGS = [
    Thing("mutex", [(i, "lock") for i in (7, 8, 9)], [Held(77, frame=REFRESH), Held(9, "read", 5)], "main.(*pool).mu"),
    Thing("fd", [(77, "read")], connection=PEER, state={"fd": 3}),
    *(Thing("fd", [(20 + i, "write")], connection=PEER) for i in range(3)),
    *(Thing("channel", [(30 + i, "receive")], type="chan int") for i in range(4)),
    Thing("channel", [(30, "send")], type="chan error", state={"address": 16}),
]  # fmt: skip
ROWS = [
    *(Row(i, wait_reason="sync.Mutex.Lock", where=GET, stack=(GET,)) for i in (7, 8, 9)),
    Row(77, wait_reason="IO wait", where=REFRESH, stack=(REFRESH,)),
    *(Row(20 + i, wait_reason="IO wait", where=QUERY, stack=(QUERY,)) for i in range(3)),
    *(Row(30 + i, wait_reason="chan receive", where=ASK, stack=(ASK,)) for i in range(4)),
    Row(99, "running", where=ASK, stack=(ASK,)),
]


def snapshot(**changes: object) -> Snapshot:
    return make_snapshot(ROWS, **({"waits": make_graph(THINGS, stuck=(8,))} | changes))


def model_of(taken: Snapshot, *levels: Level) -> Model:
    model = Model()
    model.shows_waits = True
    model.note(Tick(taken))
    model.levels += levels
    return model


def lines(model: Model, width: int = 120) -> list[str]:
    shown = page(model, Style(width))
    return [shown.line(number).plain for number in range(len(shown))]


def column(model: Model, names: Sequence[str]) -> dict[str, str]:
    """The column of each row that has one of `names`."""
    shown = page(model, Style(160))
    rows = [shown.cells(number) for number in range(len(shown))]
    return {cells["where"](): cells["waits"]() for cells in rows if cells["where"]() in names}


def test_groups_say_what_all_of_them_wait_on_or_how_many() -> None:
    model = model_of(snapshot())
    names = ["main.get", "main.refresh", "main.query", "main.ask"]
    assert column(model, names) == {
        "main.get": "main.(*pool).mu",
        "main.refresh": "read 10.0.3.7:5432",
        "main.query": "3 write 10.0.3.7:5432",
        "main.ask": "4 chan int, 1 other",
    }


def test_without_the_key_there_is_no_column() -> None:
    model = model_of(snapshot())
    model.shows_waits = False
    assert "waits" not in [each.name for each in page(model, Style(160)).columns]


def test_a_snapshot_without_waits_has_no_column() -> None:
    model = model_of(snapshot(waits=None))
    assert "waits" not in [each.name for each in page(model, Style(160)).columns]


def test_goroutines_are_sorted_by_what_they_wait_on() -> None:
    model = model_of(snapshot())
    key = next(row.key for row in model.rows if row.where[0] == ASK)
    model.levels.append(Level("goroutines", key))
    model.sort["goroutines"] = ("waits", True)
    shown = page(model, Style(160))
    cells = [shown.cells(number)["waits"]() for number in range(len(shown))]
    assert cells == ["chan int or 1 more", "chan int", "chan int", "chan int", ""]


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_column_fits(width: int) -> None:
    model = model_of(snapshot())
    assert all(len(line) <= width for line in lines(model, width))
    assert any("main.(*pool).mu" in line for line in lines(model, width))


def test_the_page_of_a_goroutine_says_what_it_waits_for_and_who_holds_it() -> None:
    assert lines(model_of(snapshot(), Level("stack", 7)))[:6] == [
        "goroutine 7 [sync.Mutex.Lock]",
        "waits for mutex main.(*pool).mu",
        "    held by goroutine 77 at main.refresh (deferred unlock pending)",
        "        which waits for read 10.0.3.7:5432",
        "    referred to by goroutine 9 (for reading; has a reference)",
        "        which waits for main.(*pool).mu",
    ]


def test_the_page_of_a_holder_says_who_waits_for_it() -> None:
    text = lines(model_of(snapshot(), Level("stack", 77)))
    assert text[1] == "waits for a read from 10.0.3.7:5432 (fd 3), no deadline"
    assert text[2] == "    holds main.(*pool).mu: goroutine 7 and 2 more wait for it"


def test_what_can_never_be_woken_is_said() -> None:
    stuck = make_graph(THINGS[5:6], stuck=(30,))
    text = lines(model_of(snapshot(waits=stuck), Level("stack", 30)))
    assert text[1] == "waits for a receive from chan int"
    assert text[2].startswith("never: nothing that is alive refers to ")


def test_nothing_of_the_target_controls_the_terminal() -> None:
    things = [Thing("mutex", [(7, "lock")], [Held(77, frame=frame("\x1b[31m"))], "\x1b[2J\u202e")]
    taken = snapshot(waits=make_graph(things))
    for levels in ([], [Level("stack", 7)], [Level("stack", 77)]):
        text = "".join(lines(model_of(taken, *levels)))
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_enter_on_a_holder_opens_its_page() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.get")
        await pilot.press("w")
        await until(pilot, "main.(*pool).mu")
        app.model.levels.append(Level("stack", 7, "goroutine 7"))
        app.show()
        text = await until(pilot, "held by goroutine 77")
        assert text[-1].startswith("Enter open")
        await pilot.press("enter")
        text = await until(pilot, "goroutine 77 [IO wait]")
        assert "holds main.(*pool).mu" in "".join(text)
        await pilot.press("enter")  # who waits first for what it holds
        await until(pilot, "goroutine 7 [sync.Mutex.Lock]")
        await pilot.press("escape", "escape")
        await until(pilot, "goroutine 7 [sync.Mutex.Lock]")
        await pilot.press("w")
        await until(pilot, "hidden")
        assert not any("held by" in line for line in screen(app))

    app = app_of(snapshot())
    play(app, script, size=(120, 30))


def test_the_key_asks_for_waits_only_while_they_are_shown() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.get")
        await pilot.press("w")
        await until(pilot, "shown")
        await pilot.press("w", "space")
        await until(pilot, "main.get")

    app = app_of(snapshot())
    play(app, script)
    asked = ticks_of(app).waited
    assert asked[0] is False
    assert True in asked
    assert asked[-1] is False


def test_a_saved_snapshot_without_waits_says_so() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.get")
        await pilot.press("w")
        await until(pilot, "what goroutines wait on was not saved")

    play(app_of(snapshot(waits=None), is_live=False), script)
