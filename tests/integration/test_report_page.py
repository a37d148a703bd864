"""A report as a page: it loads and sends nothing, and is usable on any screen, on paper, and by screen readers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium.webdriver.common.keys import Keys

from spyglass.export import document
from spyglass.model import Snapshot
from tests.browser import Browser
from tests.finished import finished_program
from tests.open_report import (
    SHOP,
    assert_quiet,
    fill,
    focused,
    matching,
    open_filters,
    settle,
    show,
)
from tests.snapshots import Row, frame, make_snapshot
from tests.unit.test_report_findings import hostile_incident, incident
from tests.unit.test_report_page import fully_hostile
from tests.unit.test_report_page_data import SHOWN


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and the paths that were requested."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


#: What an injected script would try; for each whether it was refused at once.
ATTEMPTS = """
    const [server, done] = arguments;
    const refused = [];
    const attempt = (act) => { try { act(); refused.push(false); } catch { refused.push(true); } };
    const added = (name, attributes) => document.body.append(Object.assign(document.createElement(name), attributes));
    attempt(() => added('script', {textContent: 'window.pwned = 1'}));
    attempt(() => { document.body.innerHTML = '<img src=x onerror=pwned=1>'; });
    attempt(() => added('img', {src: `${server}/img`}));
    attempt(() => { document.body.style.backgroundImage = `url(${server}/css)`; });
    attempt(() => navigator.sendBeacon(`${server}/beacon`));
    fetch(`${server}/fetch`).then(() => done([refused, false]), () => done([refused, true]));
"""


def test_the_policy_lets_nothing_in_and_nothing_out(
    window: Browser, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    show(window, tmp_path, SHOP)
    address, asked = server
    refused, fetch_refused = window.driver.execute_async_script(ATTEMPTS, address)
    assert refused[:2] == [True, True]
    assert fetch_refused
    time.sleep(0.2)
    assert asked == []
    assert window.run("return window.pwned") is None
    # This is also how it is known that nothing else was tried, or complained of, in the other tests.
    assert f"{address}/img" in window.requests()
    assert sum("Content Security Policy" in each for each in window.complaints()) >= 2
    (tmp_path / "open.html").write_text("<title>No policy</title>")
    window.open(tmp_path / "open.html")
    window.driver.execute_async_script(ATTEMPTS, address)
    assert "/fetch" in asked


@pytest.mark.slow
def test_everything_can_be_reached_with_the_tab_key(opened: Browser) -> None:
    opened.run("document.querySelector('#filter-box').open = true")
    opened.find("body").send_keys(Keys.TAB)
    assert focused(opened).text == "Skip to the content"
    assert focused(opened).is_displayed()
    seen = set()
    for _ in range(60):
        focused(opened).send_keys(Keys.TAB)
        element = focused(opened)
        if element.tag_name == "body":
            break
        outline = element.value_of_css_property("outline-style")
        seen.add(element.get_attribute("id") or element.get_attribute("name") or element.text)
        assert outline != "none", element.get_attribute("outerHTML")
    for wanted in ("theme", "download", "text", "state", "highlight", "group-by", "waiting"):
        assert wanted in seen


def brightness(window: Browser, selector: str = "body", name: str = "background-color") -> int:
    color = window.find(selector).value_of_css_property(name)
    return sum(int(part) for part in re.findall(r"\d+", color)[:3])


def test_the_theme_is_the_systems_until_the_other_one_is_chosen(opened: Browser) -> None:
    toggle = opened.find("#theme")
    assert brightness(opened) > 600 > 300 > brightness(opened, name="color")
    assert toggle.get_attribute("aria-pressed") == "false"
    opened.prefer("dark")
    settle(opened)  # the event comes with the next frame
    assert brightness(opened) < 150 < 500 < brightness(opened, name="color")
    assert toggle.get_attribute("aria-pressed") == "true"
    toggle.click()
    assert brightness(opened) > 600
    opened.prefer("light")
    toggle.click()
    assert brightness(opened) < 150
    assert toggle.get_attribute("aria-pressed") == "true"


def test_on_paper_there_is_nothing_to_click(opened: Browser) -> None:
    opened.find("#group-table .opener").click()
    opened.prefer("dark", media="print")
    assert brightness(opened) == 3 * 255
    for selector in (".contents", ".actions", "#zoom-out", "#clear", "summary", "thead button"):
        assert not opened.find(selector).is_displayed()
    for selector in ("h1", "#flame-graph .frame", "#group-table .stack", "th .on-paper"):
        assert opened.find(selector).is_displayed()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_its_window(opened: Browser, width: int) -> None:
    opened.find("#group-table .opener").click()
    opened.resize(width, 800)
    settle(opened)
    assert opened.run("return document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [320, 400])
def test_every_link_of_the_navigation_is_visible_on_a_phone(opened: Browser, width: int) -> None:
    opened.resize(width, 800)
    settle(opened)
    assert opened.run("const n = document.querySelector('.contents ul'); return n.scrollWidth") <= width  # fmt: skip
    links = [link.rect for link in opened.all(".contents a")]
    assert len(links) == 8
    for link in links:
        assert link["x"] >= 0
        assert link["x"] + link["width"] <= width
        assert link["height"] >= 24  # WCAG 2.2, 2.5.8


@pytest.mark.parametrize("width", [896, 1280])
def test_locations_and_navigation_fit_one_line(opened: Browser, width: int) -> None:
    opened.resize(width, 800)
    settle(opened)
    line = opened.find("#group-table .location").rect["height"]
    assert line < 25
    assert opened.find(".contents").rect["height"] < 60


def test_the_culprit_is_on_the_first_screen_of_a_phone(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, incident())
    window.resize(400, 800)
    settle(window)
    names = window.all("#findings .finding code")
    assert names[0].text == "main.report"
    assert names[0].rect["y"] + names[0].rect["height"] < 400


def test_an_example_of_a_finding_leads_to_its_stack(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, incident())
    fill(window, "text", "quote")
    window.find("#findings [data-goroutine]").click()
    assert matching(window) == 1
    assert window.texts("#group-table .ids li") == ["100 ≥2m"]
    assert window.texts("#group-table .stack .function") == ["main.report", "main.main"]
    assert window.driver.current_url.endswith("#goroutines")
    assert_quiet(window)


def test_findings_are_readable_without_scripts(window: Browser, tmp_path: Path) -> None:
    page = show(window, tmp_path, incident())
    policy = "script-src 'none'"
    page.write_text(re.sub(r"script-src [^;]+", policy, page.read_text()))
    window.open(page)
    assert window.texts("#findings .finding code")[0] == "main.report"
    for section in ("findings", "program", "scheduler", "memory"):
        assert window.find(f"#{section} h2").is_displayed()
    for section in ("goroutines", "flame", "threads", "problems"):
        assert not window.find(f"#{section}").is_displayed()
    window.complaints()


def test_the_reader_can_save_the_snapshot(opened: Browser) -> None:
    opened.find("#download").click()
    name = "prometheus-1234-20261120T062000Z.json"
    saved = opened.downloads / name
    deadline = time.monotonic() + 20
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(saved.read_text()) == document(SHOP)
    assert opened.find("#notice").text == f"Saved as {name}"


def test_very_long_names_leave_room_for_the_rest(window: Browser, tmp_path: Path) -> None:
    long = "main.\u202e" + "y" * (1 << 17)
    rows = [
        Row(i, wait_reason="select", where=frame(long, line=i), start=frame(long), stack=(frame(long, line=i),))
        for i in range(1, 4)
    ]  # fmt: skip
    show(window, tmp_path, make_snapshot(rows))
    fill(window, "text", "yyy")
    assert matching(window) == 3
    width, room, height = window.run(
        "const page = document.documentElement; return [page.scrollWidth, innerWidth, page.scrollHeight]"
    )
    assert width <= room
    assert height < 20_000
    assert_quiet(window)


def test_hostile_names_are_only_ever_text(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, fully_hostile())
    window.find("#group-table .opener").click()
    assert window.texts("#group-table .stack .function") == [SHOWN, "main.main"]
    assert f"{SHOWN}={SHOWN}" in window.texts(".inline dd")
    assert SHOWN in window.texts("#thread-table td")
    assert SHOWN in window.texts("#problem-table td")
    assert SHOWN in window.texts("#by-reason button")
    window.find("#by-reason button").click()
    window.find("#highlight").send_keys("<img")
    assert len(window.all("#flame-graph .hit")) == 1
    window.run("document.querySelector('#group-by').value = 'function'")
    assert window.all("img") == []
    assert_quiet(window)


def test_hostile_findings_are_only_ever_text(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, hostile_incident())
    assert SHOWN in window.texts("#findings code")
    window.find("#findings [data-goroutine]").click()
    assert matching(window) == 1
    assert window.all("img") == []
    assert_quiet(window)


def assert_accessible(window: Browser) -> None:
    """axe finds no violation; it checks the contrast of colours too."""
    window.run(f"{finished_program('axe-core').read_text()}; window.axe = axe")
    passes, violations = window.driver.execute_async_script(
        """const done = arguments[0];
        axe.run({resultTypes: ['violations']}).then(({violations, passes}) => done([
            passes.length, violations.map(({id, nodes}) => [id, nodes[0].html])]), (error) => done([0, String(error)]))"""
    )
    assert passes > 20
    assert violations == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation(opened: Browser, theme: str, width: int) -> None:
    opened.find("#group-table .opener").click()
    open_filters(opened)
    opened.prefer(theme)
    opened.resize(width, 900)
    settle(opened)
    assert_accessible(opened)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("snapshot", [incident(), make_snapshot()])
def test_axe_finds_no_violation_in_findings_of_any_severity(
    window: Browser, tmp_path: Path, theme: str, snapshot: Snapshot
) -> None:
    show(window, tmp_path, snapshot)
    window.prefer(theme)
    settle(window)
    assert_accessible(window)
