"""The section about waits in a browser: it fits phones and screens, and leads to goroutines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import Browser
from tests.integration.test_report_page import assert_accessible
from tests.open_report import assert_quiet, matching, settle, show
from tests.unit.test_waits_document import taken
from tests.wait_things import Held, Thing, make_graph


@pytest.fixture
def opened(window: Browser, tmp_path: Path) -> Browser:
    show(window, tmp_path, taken())
    return window


@pytest.mark.parametrize("width", [320, 400, 896, 1200])
def test_it_fits_its_window(opened: Browser, width: int) -> None:
    opened.resize(width, 900)
    settle(opened)
    assert opened.run("return document.documentElement.scrollWidth") == width
    for knot in opened.all("#waits svg.knot"):
        assert knot.rect["width"] == 340  # not shrunk: its text stays readable
    table = opened.find("#waits table")
    assert table.rect["width"] <= width
    assert_quiet(opened)


def test_text_is_inside_of_its_boxes(opened: Browser) -> None:
    """The widths of the boxes are computed for a font that the browser chooses."""
    assert opened.run(
        """return [...document.querySelectorAll('#waits .knot g')].every((group) => {
            const box = group.querySelector('rect').getBBox();
            return [...group.querySelectorAll('text')].every((text) => {
                const line = text.getBBox();
                return line.x + line.width <= box.x + box.width && line.y + line.height <= box.y + box.height;
            });
        })"""
    )


def test_labels_do_not_reach_the_arrows_beside_the_boxes(window: Browser, tmp_path: Path) -> None:
    holders = [Held(77, "read", grade) for grade in (1, 2, 3)]
    graph = make_graph([Thing("rwmutex", [(7, "lock"), (101, "lock")], holders, "main.rw")])
    show(window, tmp_path, taken(waits=graph))
    assert window.run(
        """return [...document.querySelectorAll('#waits .knot .label')].every((label) => {
            const line = label.getBBox();
            return line.x + line.width <= 300;
        })"""
    )


def test_knots_are_beside_each_other_on_a_screen_and_below_on_a_phone(opened: Browser) -> None:
    def tops() -> list[float]:
        return [figure.rect["y"] for figure in opened.all("#waits figure")]

    first, second = tops()
    assert first == second
    opened.resize(400, 900)
    settle(opened)
    first, second = tops()
    assert first < second


def test_a_holder_leads_to_its_stack(opened: Browser) -> None:
    opened.find("#waits td.wide-only a[data-goroutine='77']").click()
    settle(opened)
    assert matching(opened) == 1
    assert opened.find("#group-table .detail-box").is_displayed()


def test_the_navigation_leads_there_and_fits_one_line(opened: Browser) -> None:
    opened.resize(896, 900)
    settle(opened)
    assert opened.find(".contents").rect["height"] < 60
    opened.find(".contents a[href='#waits']").click()
    assert opened.run("return location.hash") == "#waits"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_axe_finds_no_violation(opened: Browser, theme: str, width: int) -> None:
    opened.prefer(theme)
    opened.resize(width, 900)
    settle(opened)
    assert_accessible(opened)
