"""Columns of the view: widths, titles, and what is cut off."""

from __future__ import annotations

import pytest

from spyglass.tui.feed import Tick
from spyglass.tui.layout import Style
from spyglass.tui.page_columns import call_kept_in
from spyglass.tui.pages import page
from spyglass.tui.plain import TextFrames
from spyglass.tui.query import Query
from spyglass.tui.view_state import Level, Model
from tests.snapshots import Row, frame, make_snapshot

SECOND = 1_000_000_000
A, B = frame("main.a", line=1), frame("main.b", line=2)
LOCK, UNLOCK = frame("sync.(*Mutex).Lock"), frame("sync.(*Mutex).Unlock")
#: Times as long as cells can become.
LONG_NS = [86_399 * SECOND, 59 * 60 * SECOND + 59 * SECOND, 364 * 86_400 * SECOND + 82_800 * SECOND]


def live(model: Model, rows: list[Row], began_ns: int = 0, interval_ns: int = SECOND) -> None:
    model.note(Tick(make_snapshot(rows), began_ns=began_ns, pause_ns=interval_ns))


def lines(model: Model, width: int | None, *, ascii_only: bool = False) -> list[str]:
    shown = page(model, Style(width, ascii_only))
    assert shown.title is not None
    return [shown.title.plain, *(shown.line(number).plain for number in range(len(shown)))]


@pytest.mark.parametrize("width", [80, 130, 200])
def test_no_time_and_no_state_is_cut_off(width: int) -> None:
    states = ["sync.Mutex.Lock", "sync.RWMutex.RLock", "chan receive (nil chan)"][
        : 2 + width // 100
    ]
    rows = [
        Row(n, wait_reason=state, waiting_ns=wait_ns, where=frame(f"main.f{n}", line=n))
        for n, (state, wait_ns) in enumerate(zip(states, LONG_NS, strict=False))
    ]
    model = Model()
    live(model, rows)
    text = "\n".join(lines(model, width))
    assert all(each in text for each in [*states, "23h 59m", "59m 59s"])
    model.levels.append(Level("goroutines", model.rows[0].key))
    assert "23h 59m" in lines(model, width)[1]
    assert states[0] in lines(model, width)[1]


def test_large_counts_and_changes_are_not_cut_off() -> None:
    model = Model("state")
    live(model, [Row(1, wait_reason="select", where=A)])
    live(model, [Row(n, wait_reason="select", where=A) for n in range(1, 12_346)], SECOND)
    assert lines(model, 80)[1].split()[:3] == ["12,345", "+12,344", "+12,344"]


@pytest.mark.parametrize(
    ("gap_ns", "interval_ns", "title"),
    [
        (SECOND, SECOND, "Δ1s"),
        (SECOND + SECOND // 20, SECOND, "Δ1s"),
        (SECOND // 10, SECOND // 10, "Δ0.1s"),
        (3 * SECOND // 10, SECOND, "Δ0.3s"),
        (10 * SECOND, 10 * SECOND, "Δ10s"),
        (300 * SECOND, 300 * SECOND, "Δ5m"),
        (2_340_000_000, 2_300_000_000, "Δ2.3s"),
    ],
)
def test_changes_are_titled_with_their_time(gap_ns: int, interval_ns: int, title: str) -> None:
    model = Model()
    live(model, [Row(1, where=A)], 5 * SECOND, interval_ns)
    live(model, [Row(1, where=A)], 5 * SECOND + gap_ns, interval_ns)
    assert f" {title} " in lines(model, 80)[0]
    assert " Δstart " in lines(model, 80)[0]
    model.set_baseline()
    assert " Δbase " in lines(model, 80)[0]
    assert f" {title.replace('Δ', '+/-')} " in lines(model, 80, ascii_only=True)[0]


def test_a_single_snapshot_has_no_changes() -> None:
    model = Model()
    model.note(Tick(make_snapshot([Row(1, where=A)])))
    assert "Δ" not in lines(model, 80)[0]
    assert "?" not in lines(model, 80)[1]


def test_the_first_tick_has_no_change_and_says_no_question_mark() -> None:
    model = Model()
    live(model, [Row(1, "running", where=A)])
    assert "Δ1s" in lines(model, 80)[0]
    assert "?" not in lines(model, 80)[1]
    assert model.rows[0].change is None


def test_groups_of_one_function_are_told_apart_by_its_calls() -> None:
    where = frame("github.com/example/warehouse.(*ReservationHandler).reserve")
    model = Model()
    live(model, [Row(n, "running", where=where, call=call) for n, call in ((1, LOCK), (2, UNLOCK))])
    first, second = lines(model, 80)[1:]
    assert first != second
    assert first.endswith("Lock")
    assert second.endswith("Unlock")


def test_a_call_is_kept_only_where_it_tells_groups_apart() -> None:
    text = "a.function.WithAVeryLongName in sync.(*Mutex).Lock"
    assert call_kept_in((), text, 30) == "a.function.WithAVeryLongName"
    kept = call_kept_in({"a.function.WithAVeryLongName"}, text, 30)
    assert kept.endswith(".Lock")
    assert len(kept) == 30


def test_a_frame_of_a_filter_that_matches_nothing_says_why() -> None:
    model = Model(query=Query.parse("nothing.like.it"))
    live(model, [Row(1, "running", where=A)])
    text = "\n".join(TextFrames(Style(None), 20, SECOND).lines(model))
    assert 'no goroutine has a function matching "nothing.like.it"' in text


def test_frames_in_a_pipe_have_the_same_columns() -> None:
    model, frames = Model(), TextFrames(Style(None), 20, SECOND)
    long = frame("example.com/some/path/of/a/package.(*Type).Method", line=77)
    starts = []
    for number in range(3):
        rows = [Row(n, wait_reason="select", where=long, call=LOCK, creator=A) for n in range(9)]
        live(model, [*rows[: 9 - number], Row(50, where=B, creator=B)], number * SECOND)
        *_, title, first, second, end = frames.lines(model)
        assert end == ""
        starts.append([title.index(name) for name in ("where", "call", "line", "created by")])
        for name, cell in (("where", "example.com/"), ("call", "sync"), ("created by", "main.a")):
            assert first.index(cell) == title.index(name)
        assert second.index("main.b") == title.index("where")
    assert starts[0] == starts[1] == starts[2]
