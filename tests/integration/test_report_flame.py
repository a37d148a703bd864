"""The flame graph of a report: the widths of its frames, mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser import Browser
from tests.open_report import (
    assert_quiet,
    focused,
    focused_name,
    frames,
    matching,
    open_filters,
    settle,
    show,
)
from tests.snapshots import Row, frame, make_snapshot


def test_the_width_of_a_frame_is_its_number_of_goroutines(opened: Browser) -> None:
    found = frames(opened)
    assert [*found] == ["all goroutines", "main.main", "main.serve", "main.query", "main.lock"]
    whole = found["all goroutines"].rect["width"]
    assert found["main.query"].rect["width"] == pytest.approx(0.6 * whole, abs=2)
    assert found["main.lock"].rect["width"] == pytest.approx(0.3 * whole, abs=2)
    assert found["main.lock"].rect["x"] == pytest.approx(
        found["main.query"].rect["x"] + 0.6 * whole, abs=2
    )
    assert found["main.lock"].get_attribute("aria-label") == "main.lock, 30 goroutines, 30 %"
    assert found["main.lock"].get_attribute("aria-level") == "4"


def test_the_legend_has_the_colours_of_the_frames(opened: Browser) -> None:
    assert opened.texts("#flame-legend li") == ["this program"]
    open_filters(opened)
    opened.find("#filters [name=all]").click()
    settle(opened)
    assert opened.texts("#flame-legend li") == ["this program", "Go runtime"]


def test_the_flame_graph_zooms_with_the_mouse(opened: Browser) -> None:
    frames(opened)["main.lock"].click()
    found = frames(opened)
    assert [*found] == ["all goroutines", "main.main", "main.serve", "main.lock"]
    assert found["main.lock"].rect["width"] == found["all goroutines"].rect["width"]
    detail = opened.find("#flame-detail").text
    assert detail == "main.lock · /src/main.go:1 · 30 goroutines · 30 % of all · 30 % of its caller"
    opened.find("#zoom-out").click()
    assert "main.query" in frames(opened)
    assert opened.find("#zoom-out").get_attribute("disabled") == "true"


def test_the_flame_graph_works_with_the_keyboard(opened: Browser) -> None:
    opened.find("#highlight").send_keys(Keys.TAB)
    assert focused_name(opened) == "all goroutines"
    seen = []
    for key in (
        Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT,
        Keys.ARROW_LEFT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT,
    ):  # fmt: skip
        focused(opened).send_keys(key)
        seen.append(focused_name(opened).removeprefix("main."))
    assert seen == ["main", "serve", "query", "lock", "lock", "query", "query", "lock"]
    focused(opened).send_keys(Keys.ENTER)
    assert "main.query" not in frames(opened)
    assert focused_name(opened) == "main.lock"
    focused(opened).send_keys(Keys.ARROW_UP)
    assert focused_name(opened) == "main.serve"
    focused(opened).send_keys(Keys.ESCAPE)
    assert "main.query" in frames(opened)
    assert focused_name(opened) == "main.serve"
    frames(opened)["main.lock"].send_keys(Keys.SPACE)
    focused(opened).send_keys(Keys.HOME)
    assert focused_name(opened) == "all goroutines"
    assert "main.query" in frames(opened)


def test_only_one_frame_is_a_stop_of_the_tab_key(opened: Browser) -> None:
    stops = "return document.querySelectorAll('#flame-graph [tabindex=\"0\"]').length"
    assert opened.run(stops) == 1
    focus = frames(opened)["all goroutines"]
    focus.send_keys(Keys.ARROW_DOWN)
    assert opened.run(stops) == 1


def test_the_flame_graph_highlights(opened: Browser) -> None:
    opened.find("#highlight").send_keys("LOCK")
    assert opened.find("#highlighted").text == "In 30 goroutines, 30 %"
    assert opened.texts("#flame-graph .hit") == ["main.lock"]
    assert matching(opened) == 100
    opened.find("#highlight").clear()
    opened.find("#highlight").send_keys("main.go")
    assert opened.find("#highlighted").text == "In 100 goroutines, 100 %"
    assert len(opened.texts("#flame-graph .hit")) == 4


@pytest.mark.slow
def test_a_very_deep_stack_is_drawn_in_parts(window: Browser, tmp_path: Path) -> None:
    stack = tuple(frame(f"main.f{i}", line=i) for i in range(1000, 0, -1))
    show(window, tmp_path, make_snapshot([Row(1, stack=stack)]))
    assert len(frames(window)) == 101
    window.find("#flame-graph .cut").click()
    found = frames(window)
    assert "main.f150" in found
    assert "main.f20" not in found
    assert_quiet(window)
