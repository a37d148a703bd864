from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files

import jsonschema
import pytest

from spyglass.errors import BadDataError, ProcessChanged
from spyglass.model import Problem, Snapshot
from spyglass.tui.feed import Event, Failure, Feed, Tick
from spyglass.tui.group_rows import Question
from spyglass.tui.growth import Growth
from spyglass.tui.header import header_lines
from spyglass.tui.history import History
from spyglass.tui.layout import Style
from spyglass.tui.plain import TextFrames, json_line
from spyglass.tui.query import BadQuery, Query
from spyglass.tui.view_state import Model
from tests.scripted import ScriptedTicks
from tests.snapshots import PROCESS, Row, frame, make_snapshot

TOP_SCHEMA = jsonschema.Draft202012Validator(
    json.loads(files("spyglass.export").joinpath("top.schema.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)
A, B = frame("main.a", line=1), frame("main.b", line=2)


def snapshot(count: int) -> Snapshot:
    rows = [Row(n, wait_reason="select", where=A, stack=(A,)) for n in range(1, count + 1)]
    return make_snapshot([*rows, Row(900, "running", where=B, stack=(B,))])


def changes(model: Model) -> list[tuple[int, int | None, int | None]]:
    return [(row.count, row.change, row.since) for row in model.rows]


class TestModel:
    def test_a_process_of_the_same_pid_that_is_another_starts_anew(self):
        model = Model()
        model.note(Tick(snapshot(3)))
        model.note(Tick(snapshot(5)))
        assert changes(model)[0] == (5, 2, 2)
        started = PROCESS.started_at
        assert started is not None
        other = replace(PROCESS, started_at=started + timedelta(hours=1))
        model.note(Tick(replace(snapshot(9), process=other)))
        assert changes(model)[0] == (9, None, 0)

    def test_groups_are_compared_after_the_question_changed(self):
        model = Model()
        model.note(Tick(snapshot(3)))
        model.note(Tick(snapshot(5)))
        model.group_by("state")
        assert changes(model)[0] == (5, 2, 2)
        model.ask(Question("function", Query.parse("main.b")))
        assert changes(model) == [(1, 0, 0)]

    def test_stacks_cannot_be_compared_with_a_base_that_has_none(self):
        rows = [Row(1, wait_reason="select", where=A)]
        model = Model("stack")
        model.note(Tick(make_snapshot(rows)))
        model.note(Tick(snapshot(2)))
        assert changes(model)[0] == (2, None, None)

    def test_a_failure_leaves_the_picture(self):
        model = Model()
        model.note(Tick(snapshot(3)))
        model.note(Failure("broken", ended=False))
        assert model.problem == "broken"
        assert len(model.rows) == 2
        model.note(Tick(snapshot(3)))
        assert model.problem is None

    def test_the_most_frequent_state_and_the_number_of_others(self):
        rows = [Row(n, wait_reason="select", where=A) for n in (1, 2)]
        rows += [Row(3, wait_reason="chan send", where=A), Row(4, "running", where=A)]
        model = Model()
        model.note(Tick(make_snapshot(rows)))
        assert model.rows[0].state == "select +2"


def growing(model: Model) -> list[int]:
    return [row.count for row in model.rows if row.growing]


class TestGrowthMarks:
    def watched(self, counts: range) -> Model:
        model = Model()
        for number in counts:
            model.note(Tick(snapshot(number)))
        return model

    @pytest.mark.parametrize(
        "question",
        [
            Question("state", Query()),
            Question("stack", Query()),
            Question("function", Query.parse("main.a")),
            Question("function", Query(), system=True),
        ],
    )
    def test_they_survive_another_question(self, question: Question):
        model = self.watched(range(1, 8))
        assert growing(model) == [7]
        model.ask(question)
        assert growing(model) == [7]
        model.ask(Question("function", Query()))
        assert growing(model) == [7]

    def test_a_group_that_did_not_grow_has_none_after_another_question(self):
        model = self.watched(range(3, 4))
        for _ in range(9):
            model.note(Tick(snapshot(3)))
        model.group_by("state")
        assert not growing(model)

    def test_ticks_without_stacks_are_left_out_where_stacks_are_asked_for(self):
        model = self.watched(range(1, 4))
        for number in range(4, 6):
            rows = [Row(n, wait_reason="select", where=A) for n in range(number)]
            model.note(Tick(make_snapshot(rows)))
        for number in range(6, 8):
            model.note(Tick(snapshot(number)))
        model.group_by("stack")
        assert growing(model) == [7]

    def test_of_very_many_goroutines_fewer_ticks_are_kept(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("spyglass.tui.growth._MAX_BYTES", 1000)
        model = self.watched(range(20, 30))
        assert growing(model) == [29]
        assert len(model._recent.shown) < 4
        model.group_by("state")
        assert not growing(model)
        for number in range(30, 34):
            model.note(Tick(snapshot(number)))
        assert growing(model) == [33]


class TestGrowth:
    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ([1, 2, 3, 4], True),
            ([1, 2, 3], False),  # too early to tell
            ([1, 2, 2, 3, 3, 4], True),
            ([1, 2, 3, 4, 3, 5, 6, 7], False),
            ([5, 5, 5, 5, 5, 5, 5, 6, 7, 8], False),
            ([9, *range(1, 11)], True),  # the fall is long ago
            ([], False),
        ],
    )
    def test_it_grows_if_it_never_falls_and_rises_mostly(self, counts: list[int], expected: bool):
        growth = Growth()
        for position, count in enumerate(counts):
            growth.note(position, {"group": count})
        assert growth.is_growing("group") is expected
        assert not growth.is_growing("other")


class TestQuery:
    def test_all_parts(self):
        query = Query.parse('state:"chan send" a.*b label:tenant=a=b state:io creator:^main')
        assert query.states == ("chan send", "io")
        assert query.labels == (("tenant", "a=b"),)
        assert query.function is not None
        assert query.function.pattern == "a.*b"
        assert query.creator is not None
        assert query.creator.pattern == "^main"

    def test_a_part_of_a_state_matches(self):
        rows = [
            Row(1, wait_reason="chan send"),
            Row(2, wait_reason="chan receive"),
            Row(3, "running"),
        ]
        model = Model("state", Query.parse("state:CHAN"))
        model.note(Tick(make_snapshot(rows)))
        assert {row.state for row in model.rows} == {"chan send", "chan receive"}

    @pytest.mark.parametrize("text", ["label:x", "label:=y", "a(", "creator:["])
    def test_an_invalid_term_is_an_error(self, text: str):
        with pytest.raises(BadQuery, match=r"is not"):
            Query.parse(text)

    @pytest.mark.parametrize("text", ['state:"chan send', 'a state:"chan', 'label:k="v', '"'])
    def test_a_quote_must_be_closed(self, text: str):
        with pytest.raises(BadQuery, match="not closed"):
            Query.parse(text)

    @pytest.mark.parametrize("text", ["state:", "x creator: y", 'label:""', "state: chan"])
    def test_a_term_must_have_a_value(self, text: str):
        with pytest.raises(BadQuery, match="no value after"):
            Query.parse(text)

    def test_a_part_of_a_value_may_be_quoted(self):
        query = Query.parse('label:tenant="blue team" label:"a b=c" main')
        assert query.labels == (("tenant", "blue team"), ("a b", "c"))
        assert query.function is not None
        assert query.function.pattern == "main"

    def test_an_empty_query_has_no_conditions(self):
        assert not Query.parse("  ")
        assert not Query.parse(" ").filter


class TestHistory:
    def test_a_constant_figure_has_no_bars(self):
        assert History().line("cpu", 10) == ""

    def test_going_back_keeps_what_is_before(self):
        history = History()
        for position, value in enumerate((1.0, 2.0, 5.0)):
            history.note(position, {"x": value})
        assert len(history.line("x", 10)) == 3
        history.note(1, {"x": 2.0})
        assert len(history.line("x", 10)) == 2
        history.note(2, {"x": 5.0})
        assert len(history.line("x", 10)) == 3

    def test_it_keeps_no_more_than_it_shows(self):
        history = History()
        for number in range(5000):
            history.note(number, {"x": float(number)})
        assert len(history._figures._all) < 1000


class _Events:
    """What a feed delivers, to be waited for."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._new = threading.Condition()

    def put(self, event: Event) -> None:
        with self._new:
            self.all.append(event)
            self._new.notify_all()

    def wait(self, number: int, seconds: float = 10) -> None:
        with self._new:
            assert self._new.wait_for(lambda: len(self.all) >= number, seconds)


class TestFeed:
    def test_it_goes_on_after_an_error_and_stops_after_the_end(self):
        ticks = ScriptedTicks([BadDataError("odd")])
        events = _Events()
        feed = Feed(ticks, 100_000_000, events.put)
        feed.start()
        events.wait(3)
        assert all(event == Failure("odd", ended=False) for event in events.all)
        ticks.events = [ProcessChanged("gone")]
        events.wait(len(events.all) + 1)
        time.sleep(0.4)
        assert events.all.count(Failure("gone", ended=True)) == 1
        feed.close()
        assert ticks.closed

    def test_an_error_of_another_kind_does_not_end_it_either(self):
        class Broken(ScriptedTicks):
            def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
                raise RuntimeError("a bug")

        events = _Events()
        feed = Feed(Broken([]), 100_000_000, events.put)
        feed.start()
        events.wait(2)
        feed.close()
        assert events.all[0] == Failure("RuntimeError: a bug", ended=False)

    def test_it_becomes_slower_where_a_tick_takes_long_and_says_so(self):
        class Slow(ScriptedTicks):
            def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
                time.sleep(0.2)
                return super().take(full, waits, cpu)

        events = _Events()
        feed = Feed(Slow([snapshot(1)]), 100_000_000, events.put)
        began = time.monotonic()
        feed.start()
        events.wait(3)
        assert time.monotonic() - began > 2 * 0.2 / 0.35
        feed.close()
        tick = events.all[-1]
        assert isinstance(tick, Tick)
        model = Model()
        model.note(tick)
        header = header_lines(model, Style(120), wanted_ns=100_000_000)[0].plain
        assert re.search(r"not 0\.1s: reading takes (0\.[2-9]|\d+)", header), header

    def test_a_shorter_interval_counts_at_once(self):
        events = _Events()
        feed = Feed(ScriptedTicks([snapshot(1)]), 3_600_000_000_000, events.put)
        feed.start()
        events.wait(1)
        feed.interval_ns = 100_000_000
        events.wait(3)
        feed.close()


class TestPlain:
    def test_a_frame_has_the_header_and_the_first_groups(self):
        model = Model()
        model.note(Tick(snapshot(3)))
        lines = list(TextFrames(Style(None), 1, 1_000_000_000).lines(model))
        assert lines[0] == "taken 2026-11-20T06:20:00.123Z"
        assert any("main.a" in line for line in lines)
        assert not any("main.b" in line for line in lines)
        assert "... and 1 more group" in lines

    def test_ascii_output_has_no_other_characters(self):
        model = Model()
        model.note(Tick(make_snapshot([Row(1, where=frame("main.世界"))])))
        text = "\n".join(TextFrames(Style(None, ascii_only=True), 5, 1).lines(model))
        assert text.isascii()
        assert r"main.\u4e16\u754c" in text

    def test_json_of_a_tick_and_of_a_failure(self):
        model = Model()
        model.note(Tick(snapshot(3), cpu_percent=1.25))
        line = json.loads(json_line(model, 1))
        assert (line["pid"], line["cpu_percent"]) == (1234, 1.2)
        assert (line["goroutines"], line["system_goroutines"]) == (4, 0)
        assert line["by_status"] == {"waiting": 3, "running": 1}
        (group,) = line["groups"]
        assert (group["count"], group["where"]["function"]) == (3, "main.a")
        model.note(Failure("it is gone", ended=True))
        ended = json.loads(json_line(model, 1))
        assert (ended["problem"], ended["ended"]) == (None, "it is gone")

    def test_every_line_of_json_is_as_its_schema_says(self):
        rows = [
            Row(1, wait_reason="select", waiting_ns=7, where=A, call=B, creator=B),
            Row(2, "leaked", wait_reason="chan send", where=None, start=B),
            Row(3, "running", where=frame("main.\udcff", file=None)),
        ]
        problems = (Problem("unreadable", "scheduler", "it cannot be read"),)
        model = Model("state")
        lines = [json_line(model, None)]
        for event in (
            Tick(make_snapshot(rows, problems=problems), cpu_percent=1.25),
            Failure("gone", ended=True),
        ):
            model.note(event)
            lines.append(json_line(model, None))
        documents = [json.loads(line) for line in lines]
        for document in documents:
            TOP_SCHEMA.validate(document)
            assert document["schema"] == "spyglass.top/1"
        assert [each["kind"] for each in documents[1]["findings"]] == ["problems"]
        assert [each["states"] for each in documents[1]["groups"]] == [
            {"select": 1}, {"chan send (leaked)": 1}, {"running": 1},
        ]  # fmt: skip
        assert documents[1]["taken_at"] == "2026-11-20T06:20:00.123456Z"
        assert [each["call"] and each["call"]["function"] for each in documents[1]["groups"]] == [
            "main.b", None, None,
        ]  # fmt: skip
        broken = documents[1] | {"groups": [{"count": -1}]}
        assert not TOP_SCHEMA.is_valid(broken)
