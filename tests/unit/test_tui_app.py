from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import MouseScrollDown, MouseScrollUp
from textual.geometry import Size
from textual.pilot import Pilot
from textual.widgets import Input

from spyglass.errors import BadDataError, ProcessChanged
from spyglass.export.snapshot_reader import load
from spyglass.model import CpuUse, Problem, Snapshot
from spyglass.tui.app import TopApp
from spyglass.tui.table_widget import Table
from tests.scripted import app_of, screen, ticks_of, until
from tests.snapshots import PROCESS, THREADS, Row, frame, make_snapshot

LEAK, SERVE, WORK = (
    frame("main.leak", line=10),
    frame("main.serve", line=20),
    frame("main.work", line=30),
)
GOEXIT = replace(frame("runtime.goexit", "/go/src/runtime/asm.s", 1700), hidden=True)
MAIN = frame("main.main", line=5)


def snapshot(leaks: int = 3, serves: int = 5, *, first: int = 10) -> Snapshot:
    rows = [
        Row(
            first + n, wait_reason="chan send", where=LEAK, creator=MAIN, stack=(LEAK, MAIN, GOEXIT)
        )
        for n in range(leaks)
    ]
    rows += [
        Row(1000 + n, wait_reason="IO wait", waiting_ns=(n + 1) * 60_000_000_000, where=SERVE,
            creator=MAIN, stack=(SERVE, GOEXIT), labels={"tenant": "blue"})
        for n in range(serves)
    ]  # fmt: skip
    rows += [Row(2000, "running", where=WORK, m=2, stack=(WORK, GOEXIT))]
    rows += [Row(3000, wait_reason="GC worker (idle)", where=None, system=True)]
    return make_snapshot(rows)


Script = Callable[[Pilot[None]], Awaitable[None]]


def play(app: TopApp, script: Script, size: tuple[int, int] = (100, 30)) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await script(pilot)

    asyncio.run(run())


def table_rows(app: TopApp) -> list[str]:
    """The rows of the table, without its titles."""
    table = app.query_one(Table)
    first = table.region.y + 1
    return [line for line in screen(app)[first : first + table.room] if line]


def names(app: TopApp) -> list[str]:
    page = app.query_one(Table).page
    if page is None or not page.columns:  # text, no rows
        return []
    return [row.split()[-1] for row in table_rows(app)]


def selected_name(app: TopApp) -> str:
    page = app.query_one(Table).page
    assert page is not None
    return page.line(app.model.level.at).plain.split()[-1]


def test_header_and_groups_are_shown():
    async def script(pilot: Pilot[None]) -> None:
        lines = await until(pilot, "main.serve")
        assert lines[0] == "nothing unusual"
        assert lines[1].startswith("prometheus  pid 1234  go1.24.4  up 1h 20m")
        assert "cpu 12%" in lines[2]
        assert "rss 100.0 MiB" in lines[2]
        assert "heap 12.3 MiB" in lines[3]
        assert "[.R]" in lines[4]
        assert "queues 0 3" in lines[4]
        assert "goroutines 9 (+1 runtime)" in lines[2]
        assert "waiting 8  running 1" in lines[5]
        assert names(app) == ["main.serve", "main.leak", "main.work"]
        assert "? help  q quit" in lines[-1]

    app = app_of(snapshot())
    play(app, script)


def test_keys_are_commands_from_the_beginning():
    async def script(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await until(pilot, "a possible leak")
        assert not app.query_one(Input).display

    app = app_of(snapshot())
    play(app, script)


def test_memory_over_time():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.leak")
        await pilot.press("m")
        await until(pilot, "resident memory")
        await pilot.press("m")
        await until(pilot, "main.leak")

    app = app_of(snapshot())
    play(app, script)


def test_changes_since_the_last_tick_and_since_the_base():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.leak")
        await pilot.press("space")
        await until(pilot, "+4")
        await pilot.press("space")
        await until(pilot, "+5")
        leak = next(row for row in table_rows(app) if "main.leak" in row)
        assert leak.split()[:3] == ["8", "+1", "+5"]
        await pilot.press("b")
        leak = next(row for row in table_rows(app) if "main.leak" in row)
        assert leak.split()[:3] == ["8", "+1", "chan"]

    app = app_of(snapshot(3), snapshot(7), snapshot(8))
    play(app, script)


def test_a_group_that_grows_without_pause_is_marked():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.leak")
        for count in range(1, 6):
            await pilot.press("space")
            await until(pilot, f"+{count}")
        marked = [row for row in table_rows(app) if row.startswith("▲")]
        assert len(marked) == 1
        assert "main.leak" in marked[0]

    app = app_of(*(snapshot(3 + n) for n in range(6)))
    play(app, script)


def test_the_selected_row_stays_selected_when_the_order_changes():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.leak")
        await pilot.press("down")
        assert selected_name(app) == "main.leak"
        await pilot.press("space")
        await until(pilot, "+17")
        assert names(app)[0] == "main.leak"
        assert selected_name(app) == "main.leak"

    app = app_of(snapshot(3), snapshot(20))
    play(app, script)


def test_enter_opens_a_group_then_a_goroutine_and_escape_leads_back():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("enter")
        lines = await until(pilot, "goroutine state")
        assert "by function > main.serve" in lines[-2]
        assert [row.split()[0] for row in table_rows(app)] == [
            "1004",
            "1003",
            "1002",
            "1001",
            "1000",
        ]
        assert "tenant=blue" in table_rows(app)[0]
        await pilot.press("down", "enter")
        await until(pilot, "goroutine 1003 [IO wait, 4m at least]")
        assert not any("runtime.goexit" in line for line in screen(app))
        await pilot.press("r")
        await until(pilot, "runtime.goexit")
        await pilot.press("escape", "escape")
        lines = await until(pilot, "main.leak")
        assert lines[-2].startswith("by function")

    app = app_of(snapshot())
    play(app, script)


def test_an_open_stack_is_refreshed_and_says_when_its_goroutine_has_ended():
    moved = snapshot(1)
    elsewhere = make_snapshot([Row(10, "running", where=WORK, stack=(WORK,))])

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("down", "enter", "enter")
        await until(pilot, "goroutine 10 [chan send]")
        await pilot.press("space")
        await until(pilot, "goroutine 10 [running]")
        await pilot.press("space")
        await until(pilot, "goroutine 10 has ended")

    app = app_of(replace(moved), elsewhere, make_snapshot([Row(11)]))
    play(app, script)


def test_stacks_of_few_goroutines_are_read_always():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("space", "space")
        await pilot.pause(0.2)
        assert len(ticks.taken) > 1
        assert all(ticks.taken)

    app = app_of(snapshot())
    ticks = ticks_of(app)
    play(app, script)


def test_stacks_of_many_are_read_while_they_are_needed_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spyglass.tui.view_state.FEW", 5)

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("space", "space")
        await pilot.pause(0.2)
        assert ticks.taken[0]  # what is compared with later has stacks
        assert not ticks.taken[-1]
        await pilot.press("enter", "enter")
        await pilot.pause(0.2)
        assert ticks.taken[-1]
        await pilot.press("escape", "escape", "space")
        await pilot.pause(0.2)
        assert not ticks.taken[-1]

    app = app_of(snapshot())
    ticks = ticks_of(app)
    play(app, script)


@pytest.mark.parametrize(
    ("presses", "expected"),
    [
        (1, "by stack"),
        (2, "by creator"),
        (3, "by state"),
        (4, "by label:tenant"),
        (5, "by function"),
    ],
)
def test_g_goes_through_what_there_is_to_group_by(presses: int, expected: str):
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press(*["g"] * presses)
        lines = await until(pilot, expected)
        if expected == "by label:tenant":
            assert any("blue" in line and " 5 " in line for line in lines)
        await pilot.press("G")
        await pilot.press("g")
        await until(pilot, expected)

    app = app_of(snapshot())
    play(app, script)


def test_rows_are_sorted_by_the_column_that_is_chosen():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("i")
        assert names(app) == ["main.work", "main.leak", "main.serve"]
        await pilot.press("i", *["greater_than_sign"] * 5)
        assert app.model.sort["groups"] == ("where", False)
        assert names(app) == ["main.leak", "main.serve", "main.work"]
        await pilot.press("less_than_sign")
        assert app.model.sort["groups"] == ("wait", True)
        assert names(app)[0] == "main.serve"

    app = app_of(snapshot())
    play(app, script)


def test_rows_are_sorted_by_the_title_that_is_clicked():
    async def script(pilot: Pilot[None]) -> None:
        lines = await until(pilot, "main.serve")
        await pilot.click(Table, offset=(lines[6].index("where") + 1, 0))
        assert names(app) == ["main.leak", "main.serve", "main.work"]
        await pilot.click(Table, offset=(lines[6].index("where") + 1, 0))
        assert names(app) == ["main.work", "main.serve", "main.leak"]

    app = app_of(snapshot())
    play(app, script)


def test_another_order_is_shown_from_its_first_row_on():
    rows = [Row(n, wait_reason="select", where=frame(f"main.f{n:03}")) for n in range(1, 80)]

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.f001")
        await pilot.press("end", *["greater_than_sign"] * 5)
        assert app.model.sort["groups"] == ("where", False)
        assert selected_name(app) == names(app)[0] == "main.f001"
        await pilot.press("i")
        assert selected_name(app) == names(app)[0] == "main.f079"

    app = app_of(make_snapshot(rows))
    play(app, script)


def test_a_row_is_selected_by_a_click_and_opened_by_another():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.click(Table, offset=(30, 2))
        assert selected_name(app) == "main.leak"
        await pilot.click(Table, offset=(30, 2))
        await until(pilot, "by function > main.leak")

    app = app_of(snapshot())
    play(app, script)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("leak|work", ["main.leak", "main.work"]),
        ("state:io", ["main.serve"]),
        ('state:"chan send"', ["main.leak"]),
        ("label:tenant=blue", ["main.serve"]),
        ("creator:main.main serve", ["main.serve"]),
        ("state:chan nothing", []),
    ],
)
def test_a_filter_keeps_what_matches(text: str, expected: list[str]):
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("slash")
        app.query_one(Input).value = text
        await pilot.press("enter")
        await pilot.pause()
        assert names(app) == expected
        await pilot.press("space")
        await pilot.pause(0.1)
        assert names(app) == expected
        await pilot.press("slash")
        assert app.query_one(Input).value == text
        await pilot.press("escape")
        assert names(app) == expected

    app = app_of(snapshot())
    play(app, script)


def test_an_invalid_filter_is_an_error_and_changes_nothing():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("slash", "(", "enter")
        await until(pilot, "is not a regular expression")
        await pilot.press("escape", "question_mark")
        await until(pilot, "a possible leak")
        assert not app.model.question.query

    app = app_of(snapshot())
    play(app, script)


def test_an_unclosed_quote_is_an_error_at_once():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("slash")
        app.query_one(Input).value = 'state:"chan send'
        await pilot.press("enter")
        await until(pilot, '! a quote (") is not closed')
        assert app.query_one(Input).display
        app.query_one(Input).value += '"'
        await pilot.press("enter")
        await pilot.pause()
        assert names(app) == ["main.leak"]

    app = app_of(snapshot())
    play(app, script)


def test_escape_clears_a_filter_after_it_closed_pages():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("slash")
        app.query_one(Input).value = "serve"
        await pilot.press("enter", "enter")
        await until(pilot, "by function > /serve > main.serve")
        await pilot.press("escape")
        assert names(app) == ["main.serve"]
        await pilot.press("escape")
        await until(pilot, "filter cleared")
        assert len(names(app)) == 3

    app = app_of(snapshot())
    play(app, script)


LOCK = frame("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go", 46)
CARRIERS = ("report", "quote", "track", "cancel")


def incident(carriers: Sequence[str]) -> Snapshot:
    """A lock in each of `carriers` for which goroutines have waited for minutes."""
    rows = [
        Row(
            10 * at + n, wait_reason="sync.Mutex.Lock", waiting_ns=(9 - at) * 60_000_000_000, call=LOCK,
            where=frame(f"example.com/a/long/path/of/a/module/carrier.(*Client).{name}", line=at + 1),
        )
        for at, name in enumerate(carriers)
        for n in range(1, 4)
    ]  # fmt: skip
    return make_snapshot(rows)


@pytest.mark.parametrize(("size", "number"), [((80, 24), 3), ((160, 50), 3), ((80, 16), 1)])
def test_the_first_lines_are_the_most_severe_findings(size: tuple[int, int], number: int):
    async def script(pilot: Pilot[None]) -> None:
        lines = await until(pilot, "(*Client).report")
        for line, name in zip(lines[:number], CARRIERS, strict=False):
            assert line.startswith("critical")
            assert f"(*Client).{name}" in line
        assert "f 4 findings" in lines[-1]
        assert lines[number].startswith("prometheus")
        await pilot.press("f")
        lines = await until(pilot, "spyglass dump --pid 1234")
        await pilot.press("f")
        await until(pilot, "count")

    app = app_of(incident(CARRIERS))
    play(app, script, size)


def test_the_table_does_not_move_up_when_there_are_fewer_findings():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "(*Client).track")
        top = app.query_one(Table).region.y
        assert top == 8
        await pilot.press("space")
        lines = await until(pilot, "nothing unusual")
        assert app.query_one(Table).region.y == top
        assert lines[1:3] == ["", ""]

    app = app_of(incident(CARRIERS), snapshot())
    play(app, script)


def test_a_filter_that_matches_nothing_says_what_there_is():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("slash")
        app.query_one(Input).value = "state:mutex"
        await pilot.press("enter")
        lines = await until(pilot, 'no goroutine is in state "mutex"; there are')
        assert "IO wait 5" in "".join(lines)
        assert "none; Esc clears the filter" in lines[-2]
        await pilot.press("enter", "down", "greater_than_sign", "escape")
        await until(pilot, "main.serve")

    app = app_of(snapshot())
    play(app, script)


def test_problems_are_listed():
    problems = tuple(
        Problem("unreadable", f"goroutine {n}", "its stack cannot be read: " + "why " * 40)
        for n in (7, 8)
    )

    async def script(pilot: Pilot[None]) -> None:
        lines = await until(pilot, "problems 2 (!)")
        await pilot.press("exclamation_mark")
        lines = await until(pilot, "unreadable: goroutine 8: its stack")
        text = " ".join(line.strip() for line in lines[6:-2])
        assert text.count("why") == 80
        await pilot.press("escape")
        await until(pilot, "main.serve")

    app = app_of(replace(snapshot(), problems=problems))
    play(app, script)


def test_runtime_frames_are_offered_where_they_can_be_seen():
    async def script(pilot: Pilot[None]) -> None:
        lines = await until(pilot, "main.serve")
        assert "runtime frames" not in lines[-1]
        await pilot.press("r")
        await pilot.pause()
        assert not app.model.runtime_frames
        await pilot.press("enter", "enter")
        lines = await until(pilot, "goroutine 1004")
        assert "r runtime frames" in lines[-1]
        await pilot.press("r")
        await until(pilot, "runtime.goexit")

    app = app_of(snapshot())
    play(app, script)


def test_the_wheel_scrolls_and_the_selection_stays_visible():
    rows = [Row(n, wait_reason="select", where=frame(f"main.f{n:03}")) for n in range(1, 80)]

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.f001")
        table = app.query_one(Table)
        await pilot._post_mouse_events([MouseScrollDown], widget=Table, offset=(5, 3))
        await pilot.pause()
        assert names(app)[0] == "main.f004"
        assert selected_name(app) == "main.f004"
        await pilot.click(Table, offset=(30, 6))
        assert selected_name(app) == "main.f009"
        await pilot._post_mouse_events([MouseScrollUp], widget=Table, offset=(5, 3))
        await pilot.pause()
        assert names(app)[0] == "main.f001"
        assert selected_name(app) == "main.f009"
        assert table.level.top == 0

    app = app_of(make_snapshot(rows))
    play(app, script)


def test_threads_and_the_goroutine_of_one():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("t")
        await until(pilot, "c-worker")
        assert [row.split()[0] for row in table_rows(app)] == ["1234", "1236", "1240"]
        await pilot.press("down", "enter")
        await until(pilot, "goroutine 17")
        await pilot.press("escape", "t")
        await until(pilot, "main.serve")

    app = app_of(snapshot())
    play(app, script)


def test_threads_are_sorted_by_what_they_used_of_a_processor():
    used = [None, 250_000_000, 900_000_000]
    threads = tuple(
        replace(thread, cpu_ns=each and 10 * each, recent_cpu_ns=each)
        for thread, each in zip(THREADS, used, strict=True)
    )
    use = CpuUse(1_000_000_000, 1_150_000_000, 10_000_000_000, 2, None)

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("t")
        await until(pilot, "c-worker")
        assert [row.split()[:2] for row in table_rows(app)] == [
            ["1240", "90%"],
            ["1236", "25%"],
            ["1234", "-"],
        ]

    app = app_of(replace(snapshot(), threads=threads, cpu=use))
    play(app, script)


def test_a_key_shows_runtime_goroutines():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        assert len(table_rows(app)) == 3
        await pilot.press("S")
        await pilot.pause()
        assert len(table_rows(app)) == 4

    app = app_of(snapshot())
    play(app, script)


def test_pause_and_interval():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("p")
        await until(pilot, "PAUSED")
        taken = len(ticks.taken)
        await pilot.press("minus", "minus")
        await pilot.pause(0.4)
        assert len(ticks.taken) == taken
        await pilot.press("p")
        await pilot.pause(0.5)
        assert len(ticks.taken) > taken
        assert app.feed.interval_ns == 100_000_000
        await pilot.press("plus")
        await until(pilot, "every 0.2s")

    app = app_of(snapshot(), interval_ns=500_000_000)
    ticks = ticks_of(app)
    play(app, script)


def test_the_last_picture_stays_when_the_process_ends():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("space")
        lines = await until(pilot, "ENDED")
        assert "process 1234 ended while it was read" in lines[-2]
        assert names(app) == ["main.serve", "main.leak", "main.work"]
        await pilot.press("enter", "enter")
        await until(pilot, "goroutine 1004")

    app = app_of(snapshot(), ProcessChanged("process 1234 ended while it was read"))
    play(app, script)


def test_the_next_process_is_shown_when_it_is_followed():
    other = replace(snapshot(30), process=replace(PROCESS, pid=4321))

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "pid 1234")
        await pilot.press("space")
        await until(pilot, "ENDED")
        await pilot.press("space")
        lines = await until(pilot, "pid 4321")
        assert "ENDED" not in lines[1]
        assert "+" not in "".join(table_rows(app))

    app = app_of(snapshot(), ProcessChanged("it ended"), other, follows=True)
    play(app, script)


def test_an_error_of_one_tick_is_shown_and_the_next_tick_goes_on():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("space")
        lines = await until(pilot, "nonsense was read")
        assert "ENDED" not in lines[1]
        await pilot.press("space")
        lines = await until(pilot, "+9")
        assert not any("nonsense" in line for line in lines)

    app = app_of(snapshot(), BadDataError("nonsense was read"), snapshot(12))
    play(app, script)


def test_a_series_is_walked_through_in_both_directions():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "1 of 3")
        await pilot.press("right")
        await until(pilot, "2 of 3")
        await pilot.press("right", "right")
        await until(pilot, "3 of 3")
        lines = await until(pilot, "+2")
        assert "waiting 10 ▁▄█" in lines[5]
        await pilot.press("left")
        lines = await until(pilot, "2 of 3")
        assert "waiting 9 ▁█" in lines[5]
        await pilot.press("left")
        await until(pilot, "1 of 3")

    app = app_of(snapshot(3), snapshot(4), snapshot(5), is_live=False)
    play(app, script)


def test_a_snapshot_and_a_report_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press("s")
        await until(pilot, ".json.gz")
        await pilot.press("e")
        await until(pilot, ".html")

    play(app_of(snapshot()), script)
    (saved,) = tmp_path.glob("*.json.gz")
    (page,) = tmp_path.glob("*.html")
    for path in (saved, page):
        assert len(load(path).goroutines) == 10


def test_a_failure_to_save_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        (tmp_path / "there").rmdir()
        await pilot.press("s")
        await until(pilot, "not saved")

    play(app_of(snapshot()), script)


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 8), (300, 80)])
def test_every_size_is_filled_and_no_line_is_longer(size: tuple[int, int]):
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "prometheus")
        await pilot.resize_terminal(*size)
        await pilot.pause(0.2)
        assert app.size == Size(*size)
        for keys in ((), ("enter",), ("enter",), ("t",), ("question_mark",)):
            await pilot.press(*keys)
            await pilot.pause()
            lines = screen(app)
            assert len(lines) == size[1]
            assert all(len(line) <= size[0] for line in lines)
        assert "q quit" in lines[-1]

    app = app_of(snapshot())
    play(app, script)


def test_the_selected_row_is_seen_after_a_resize():
    rows = [Row(n, wait_reason="select", where=frame(f"main.f{n:03}")) for n in range(1, 60)]

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.f001")
        await pilot.press("end")
        assert selected_name(app) == "main.f059"
        await pilot.resize_terminal(80, 12)
        await pilot.pause(0.2)
        await until(pilot, "main.f059")
        await pilot.press("pageup")
        assert selected_name(app) != "main.f059"
        await pilot.press("home")
        await until(pilot, "main.f001")

    app = app_of(make_snapshot(rows))
    play(app, script)


@pytest.mark.parametrize(
    "name", ["main.\x1b[31mred", "main.世界世界世界世界世界世界世界世界", "main.\u202eright"]
)
def test_hostile_and_wide_names_break_nothing(name: str):
    rows = [Row(1, wait_reason="select", where=frame(name)), Row(2, "running", where=WORK)]

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.work")
        text = "\n".join(screen(app))
        assert "\x1b" not in text
        assert "\u202e" not in text
        await pilot.press("enter", "enter")
        await until(pilot, "goroutine ")
        assert "\x1b" not in "\n".join(screen(app))

    app = app_of(make_snapshot(rows))
    play(app, script, size=(80, 24))


def test_ascii_terminals_get_ascii():
    many = [snapshot(3 + n) for n in range(6)]

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.leak")
        for count in range(1, 6):
            await pilot.press("space")
            await until(pilot, f"+{count}")
        assert "\n".join(screen(app)).isascii()
        assert any(row.startswith("^") for row in table_rows(app))
        await pilot.press("question_mark")
        await pilot.pause()
        assert "\n".join(screen(app)).isascii()

    app = app_of(*many)
    app._ascii_only = True
    play(app, script)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_ends_and_closes_the_source(key: str):
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await pilot.press(key)

    app = app_of(snapshot())
    play(app, script)
    ticks = ticks_of(app)
    assert ticks.closed
    assert app.return_code == 0


def test_what_arrives_while_it_ends_is_not_drawn():
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "main.serve")
        await app.screen.query("*").remove()
        app.show()

    app = app_of(snapshot())
    play(app, script)
