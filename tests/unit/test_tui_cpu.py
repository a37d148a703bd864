"""Processor time in the view: the page of functions, the page of one of them, the column of groups."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator
from textual.pilot import Pilot

from spyglass.model import NONE, Snapshot
from spyglass.profile import Account
from spyglass.tui.feed import Tick
from spyglass.tui.header import header_lines
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.plain import TextFrames, json_line
from spyglass.tui.query import Query
from spyglass.tui.sampled import Sampled
from spyglass.tui.view_state import Level, Model
from tests.made_profiles import SHOP, SampleRow, make_profile
from tests.scripted import app_of, screen, ticks_of, until
from tests.snapshots import Row, frame, make_snapshot
from tests.unit.test_tui_app import play

BYTES = frame("main.main", line=5)
#: The goroutines 7 and 8 of `SHOP`, one that was not sampled, and the collector's. 9 has ended.
ROWS = [
    Row(7, "running", where=frame("shop.serve"), creator=BYTES, labels={"tenant": "blue"}),
    Row(8, wait_reason="select", where=frame("shop.serve"), creator=frame("main.other")),
    Row(3, wait_reason="select", where=frame("shop.idle")),
    Row(4, wait_reason="GC worker (idle)", where=None, system=True),
]
#: Two seconds: in the first `SHOP`, in the second the collector's own goroutine and nothing else.
PARTS = (
    replace(SHOP, duration_ns=10**9),
    make_profile(
        [SampleRow((frame("runtime.gcDrain"),), 100_000_000, 10, 4)],
        duration_ns=10**9,
        account=Account(
            samples=10, goroutine_known=10, cpu_used_ns=100_000_000, cpu_sampled_ns=100_000_000
        ),
    ),
)
SAMPLED = Sampled(PARTS)


def snapshot() -> Snapshot:
    return make_snapshot(ROWS)


def model_of(sampled: Sampled | None = SAMPLED, *levels: Level, query: str = "") -> Model:
    model = Model("state", Query.parse(query))
    model.levels += levels
    model.show_cpu(True)
    model.note(Tick(snapshot(), 55.0, sampled=sampled))
    return model


def lines(model: Model, width: int | None = 120) -> list[str]:
    shown = page(model, Style(width))
    return [shown.line(number).plain for number in range(len(shown))]


def table(model: Model, *columns: str) -> list[list[str]]:
    shown = page(model, Style(160))
    assert set(columns) <= {column.name for column in shown.columns}
    rows = [shown.cells(number) for number in range(len(shown))]
    return [[cells[name]() for name in columns] for cells in rows]


CPU = Level("cpu")


def test_functions_have_their_time_in_percent_of_one_processor() -> None:
    assert table(model_of(SAMPLED, CPU), "self", "total", "function") == [
        ["22.0%", "22.0%", "crypto/sha256.block"],
        ["12.5%", "12.5%", "example.com/shop.byPrice"],
        ["8.0%", "8.0%", "runtime.mallocgc"],
        ["5.0%", "5.0%", "runtime.schedule"],
        ["5.0%", "5.0%", "runtime.gcDrain"],
        ["", "42.5%", "main.main"],
        ["", "42.5%", "example.com/shop.(*Server).serve"],
        ["", "12.5%", "sort.Slice"],
    ]


def test_functions_are_sorted_by_the_column_that_is_chosen() -> None:
    model = model_of(SAMPLED, CPU)
    model.sort_by("total")
    assert table(model, "function")[0] == ["main.main"]
    model.invert()
    assert table(model, "function")[-1] == ["main.main"]
    model.sort_by("function")
    assert table(model, "function")[0] == ["crypto/sha256.block"]


def test_the_trend_has_a_bar_for_each_part() -> None:
    trends = {name: trend for trend, name in table(model_of(SAMPLED, CPU), "trend", "function")}
    assert trends["crypto/sha256.block"] == "█ "
    assert trends["runtime.gcDrain"] == " █"


@pytest.mark.parametrize(
    ("query", "functions"),
    [
        ("Slice", ["example.com/shop.byPrice", "main.main", "example.com/shop.(*Server).serve", "sort.Slice"]),
        ("label:tenant=blue", ["crypto/sha256.block", "main.main", "example.com/shop.(*Server).serve"]),
        ("state:g0", ["runtime.schedule"]),
        ("creator:other", ["example.com/shop.byPrice", "runtime.mallocgc", "main.main",
                           "example.com/shop.(*Server).serve", "sort.Slice"]),
        ("creator:nobody", []),
    ],
)  # fmt: skip
def test_a_filter_chooses_samples(query: str, functions: list[str]) -> None:
    model = model_of(SAMPLED, CPU, query=query)
    if functions:
        assert sorted(name for (name,) in table(model, "function")) == sorted(functions)
    else:
        assert lines(model) == ["no sample matches the filter in the last 2s"]


def test_a_function_has_the_goroutines_that_run_it_and_its_callers() -> None:
    shown = lines(model_of(SAMPLED, CPU, Level("function", "crypto/sha256.block")))
    assert shown == [
        "crypto/sha256.block  self 22.0%  total 22.0%",
        "",
        "goroutines that ran it, by state as it is now",
        "  20.0%  running",
        "   2.0%  (ended)",
        "",
        "called by",
        "  22.0%  example.com/shop.(*Server).serve",
        "         main.main",
    ]


def test_a_function_that_is_gone_says_so() -> None:
    model = model_of(SAMPLED, CPU, Level("function", "main.gone"))
    assert lines(model) == ["no sample in it any more"]


def test_a_group_has_the_time_of_its_goroutines_and_the_rest_is_in_the_header() -> None:
    model = model_of()
    assert table(model, "cpu", "state") == [["17.5%", "select"], ["20.0%", "running"]]
    header = [line.plain for line in header_lines(model, Style(160))]
    assert header[5:] == [
        "cpu last 2s 56%  sampled 56%  coverage 99%  goroutine known 94%  at 99 Hz  lost 2",
        "not in groups:  not on a goroutine 7.5%  runtime goroutines 5.0%  goroutine not known 3.0%"
        "  ended 2.0%",
    ]


def test_what_a_filter_leaves_out_is_said() -> None:
    header = header_lines(model_of(query="state:select"), Style(160))
    assert "filtered out 20.0%" in header[-1].plain


def test_groups_are_sorted_by_their_time() -> None:
    model = model_of()
    model.sort_by("cpu")
    assert table(model, "cpu") == [["20.0%"], ["17.5%"]]


def test_goroutines_have_their_time_too() -> None:
    model = model_of(SAMPLED, Level("goroutines", "select"))
    model.sort_by("cpu")
    assert table(model, "id", "cpu") == [["8", "17.5%"], ["3", ""]]


def test_without_the_key_there_is_no_column() -> None:
    model = model_of()
    model.show_cpu(False)
    assert "cpu" not in [column.name for column in page(model, Style(160)).columns]
    assert len(header_lines(model, Style(160))) == 5


def test_what_is_refused_says_why() -> None:
    refused = Sampled((), "threads cannot be sampled: kernel.perf_event_paranoid is 4; run sudo")
    shown = lines(model_of(refused, CPU), 40)
    assert " ".join(line.strip() for line in shown) == refused.refused
    header = header_lines(model_of(refused), Style(160))
    assert header[5].plain == refused.refused
    assert "cpu" not in [column.name for column in page(model_of(refused), Style(160)).columns]


def test_of_a_process_that_rests_there_are_no_samples() -> None:
    resting = make_profile([], duration_ns=10**9, account=Account(cpu_used_ns=4_000_000))
    model = model_of(Sampled((resting,)), CPU)
    assert lines(model) == ["no samples in the last 1s: the process used 0.4% of a processor"]
    assert "cpu last 1s 0%" in header_lines(model, Style(160))[5].plain


def test_names_from_the_program_cannot_control_the_terminal() -> None:
    evil = frame("main.\x1b[2J")
    made = make_profile([SampleRow((evil, frame("main.\x1bcaller")), 10**8, 10)], duration_ns=10**9)
    model = model_of(Sampled((made,)), CPU)
    assert not any("\x1b" in line for line in lines(model))
    model.levels.append(Level("function", evil.function))
    assert "called by" in lines(model)
    assert not any("\x1b" in line for line in lines(model))


def test_a_frame_of_text_has_the_column() -> None:
    shown = list(TextFrames(Style(), 20, 0).lines(model_of()))
    titles = next(line for line in shown if "count" in line)
    assert titles.split()[1] == "cpu"
    assert any("not on a goroutine 7.5%" in line for line in shown)


def test_a_line_of_json_has_functions_and_groups_with_their_time() -> None:
    schema = json.loads(files("spyglass.export").joinpath("top.schema.json").read_text())
    validator = Draft202012Validator(schema)
    model = model_of()
    model.sort_by("cpu")
    document = json.loads(json_line(model, 1))
    validator.validate(document)
    assert [group["cpu_percent"] for group in document["groups"]] == [20.0]
    sampled = document["sampled"]
    assert sampled["functions"] == [
        {"function": "crypto/sha256.block", "self_percent": 22.0, "total_percent": 22.0}
    ]
    outside = {name: percent for name, percent in sampled["outside_groups"].items() if percent}
    assert outside == {
        "not_on_a_goroutine": 7.5, "runtime_goroutines": 5.0, "goroutine_not_known": 3.0, "ended": 2.0,
    }  # fmt: skip
    refused = json.loads(json_line(model_of(Sampled((), "no")), 1))
    validator.validate(refused)
    assert refused["sampled"] == {"refused": "no"}
    without = json.loads(json_line(model_of(None), 1))
    validator.validate(without)
    assert "sampled" not in without


def test_time_that_is_not_proven_is_of_no_goroutine() -> None:
    times = SAMPLED.by_goroutine(snapshot())
    assert NONE in SHOP.samples.goroutine.tolist()
    assert times.of_rows_ns.tolist() == [400e6, 350e6, 0, 100e6]
    assert (times.ended_ns, times.unknown_ns, times.elsewhere_ns) == (40e6, 60e6, 150e6 + 1)


def test_c_opens_functions_and_samples_only_while_they_are_shown() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "shop.serve")
        assert not any(ticks.sampling)
        ticks.sampled = SAMPLED
        await pilot.press("c")
        await until(pilot, "crypto/sha256.block")
        assert ticks.sampling[-1]
        await pilot.press("enter")
        await until(pilot, "called by")
        await pilot.press("slash", *"tenant", "enter")  # a function: no sample has it
        await until(pilot, "no sample matches")
        await pilot.press("escape", "escape", "escape")
        await until(pilot, "shop.serve")
        assert not app.feed.cpu

    app = app_of(snapshot())
    ticks = ticks_of(app)
    play(app, script)


def test_the_column_stays_when_the_page_is_left() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "shop.serve")
        await pilot.press("C")
        await until(pilot, "not in groups")
        assert any(" cpu " in line for line in screen(app))
        await pilot.press("c", "escape")
        await until(pilot, "not in groups")
        assert app.feed.cpu
        await pilot.press("C")
        assert not any("not in groups" in line for line in screen(app))
        assert not app.feed.cpu

    app = app_of(snapshot())
    ticks_of(app).sampled = SAMPLED
    play(app, script)


def test_while_reading_is_paused_nothing_is_sampled() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "shop.serve")
        await pilot.press("p", "c")
        await until(pilot, "nothing is sampled")
        await pilot.press("p", "c")
        await until(pilot, "crypto/sha256.block")

    app = app_of(snapshot())
    ticks_of(app).sampled = SAMPLED
    play(app, script)


def test_of_a_saved_snapshot_nothing_can_be_sampled() -> None:
    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, "shop.serve")
        await pilot.press("c")
        await until(pilot, "of a running process only")
        assert app.model.level.kind == "groups"

    app = app_of(snapshot(), is_live=False)
    play(app, script)
