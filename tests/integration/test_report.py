"""Reports in a real browser: what people can see, click, type and hear of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from spyglass import cli
from spyglass.analysis.clusters import clusters
from spyglass.analysis.counts import by_status, by_wait_reason
from spyglass.analysis.selection import selected
from spyglass.analysis.stacks import shown_frames
from spyglass.export import document
from spyglass.export.reader import load
from spyglass.model import Frame, Snapshot
from spyglass.render.traceback import call_text
from spyglass.report.page import report
from tests.browser import Browser, browser
from tests.finished import finished_program, running
from tests.snapshots import Row, frame, make_snapshot
from tests.support import Flavour, start
from tests.unit.test_report_data import SHOWN
from tests.unit.test_report_page import fully_hostile

MAIN, SERVE, QUERY, LOCK = (frame(f"main.{name}") for name in ("main", "serve", "query", "lock"))
PARK = Frame("runtime.gopark", "/go/src/runtime/proc.go", 402, 0x43210, hidden=True)
MINUTE_NS = 60 * 10**9

#: Three groups of one stack; two states; two labels; waits of 1 to 60 minutes.
SHOP = make_snapshot(
    [
        *(
            Row(
                100 + i, wait_reason="select", waiting_ns=(i + 1) * MINUTE_NS, where=QUERY,
                stack=(PARK, QUERY, SERVE, MAIN), creator=MAIN, creator_id=1,
                labels={"tenant": "blue" if i % 2 else "red"},
            )
            for i in range(60)
        ),
        *(
            Row(200 + i, wait_reason="sync.Mutex.Lock", where=LOCK, stack=(PARK, LOCK, SERVE, MAIN))
            for i in range(30)
        ),
        *(Row(300 + i, "runnable", where=SERVE, stack=(SERVE, MAIN)) for i in range(10)),
        Row(2, wait_reason="force gc (idle)", system=True, stack=(PARK,)),
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as window:
        yield window


@pytest.fixture
def opened(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The page of `SHOP`, of which the browser must have nothing to complain."""
    show(window, tmp_path, SHOP)
    yield window
    assert_quiet(window)


def show(window: Browser, folder: Path, snapshot: Snapshot) -> Path:
    page = folder / "incident.html"
    page.write_text("".join(report(snapshot)), "utf-8")
    window.open(page)
    return page


def assert_quiet(window: Browser) -> None:
    """Nothing was asked of anybody, and nothing is wrong."""
    assert window.complaints() == []
    assert [url for url in window.requests() if not url.startswith("blob:")] == [
        window.driver.current_url.partition("#")[0]
    ]


def fill(window: Browser, name: str, value: str) -> None:
    """Type into a field of the filters."""
    field = window.find(f"#filters [name={name}]")
    field.clear()
    field.send_keys(value)
    settle(window)


def settle(window: Browser) -> None:
    """Wait until the page has shown what is asked for."""
    window.driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )


def matching(window: Browser) -> int:
    return int(window.find("#matching").text.split(" of ")[0].replace(",", ""))


def bars(window: Browser, chart: str) -> dict[str, int]:
    names = window.texts(f"#{chart} tbody th")
    counts = window.texts(f"#{chart} tbody td:nth-of-type(1)")
    return {name: number(count) for name, count in zip(names, counts, strict=True)}


def number(text: str) -> int:
    return int(text.replace(",", ""))


def group_counts(window: Browser) -> list[int]:
    return [number(text) for text in window.texts("#group-table tbody tr > td:first-child.number")]


def frames(window: Browser) -> dict[str, WebElement]:
    """The frames of the flame graph by what a screen reader says of them."""
    found = window.all("#flame-graph [role=treeitem]")
    return {(each.get_attribute("aria-label") or "").split(",")[0]: each for each in found}


def focused(window: Browser) -> WebElement:
    return window.driver.switch_to.active_element


def focused_name(window: Browser) -> str:
    return (focused(window).get_attribute("aria-label") or focused(window).text).split(",")[0]


def test_it_counts_as_the_snapshot_does(opened: Browser) -> None:
    assert opened.find("#matching").text == "100 of 101 goroutines shown"
    assert bars(opened, "by-status") == {"waiting": 90, "runnable": 10}
    assert bars(opened, "by-reason") == {"select": 60, "sync.Mutex.Lock": 30}
    assert group_counts(opened) == [60, 30, 10]
    assert opened.texts("#group-table tbody th .function") == ["main.query", "main.lock", "main.serve"]  # fmt: skip


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and what it was asked for."""
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


#: What somebody who could put a script into the page would try; each says whether it was refused at once.
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


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("text", "query", 60),
        ("text", "MAIN.LOCK", 30),
        ("text", "serve", 100),
        ("text", "gopark", 90),
        ("text", "proc.go", 90),
        ("text", "nowhere", 0),
        ("label", "tenant=blue", 30),
        ("label", "TENANT", 60),
        ("goroutine", "207", 1),
        ("goroutine", "2", 0),
        ("goroutine", "x", 0),
    ],
)
def test_filters_choose(opened: Browser, name: str, value: str, count: int) -> None:
    fill(opened, name, value)
    assert matching(opened) == count
    assert sum(group_counts(opened)) == count
    assert sum(bars(opened, "by-status").values()) == count
    root = [label for label in opened.all("#flame-graph .root")]
    assert len(root) == bool(count)
    opened.find("#filters button[type=reset]").click()
    settle(opened)
    assert matching(opened) == 100


def test_filters_choose_together(opened: Browser) -> None:
    fill(opened, "label", "tenant=blue")
    opened.run(
        "const f = document.forms.filters.elements.wait; f.value = '600e9'; f.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    settle(opened)
    assert matching(opened) == 26  # blue ones wait for 2, 4, ... 60 minutes
    fill(opened, "goroutine", "159")
    assert matching(opened) == 1
    opened.find("#group-table .opener").click()
    assert opened.texts("#group-table .ids li") == ["159 1h"]
    fill(opened, "goroutine", "101")
    assert matching(opened) == 0
    assert "No goroutine matches" in opened.find("#group-table").text


def test_states_are_chosen_in_the_list_and_in_the_charts(opened: Browser) -> None:
    state = opened.find("#filters [name=state]")
    texts = [option.text for option in state.find_elements(By.TAG_NAME, "option")]
    assert texts == ["any", "runnable", "waiting", "force gc (idle)", "select", "sync.Mutex.Lock"]
    opened.find("#by-reason button").click()
    assert matching(opened) == 60
    assert opened.find("#by-reason button").get_attribute("aria-pressed") == "true"
    assert opened.run("return document.activeElement.textContent") == "select"
    state.send_keys("runnable")
    settle(opened)
    assert matching(opened) == 10


def test_system_goroutines_and_hidden_frames_are_shown_when_asked_for(opened: Browser) -> None:
    assert "runtime.gopark" not in frames(opened)
    opened.find("#filters [name=system]").click()
    settle(opened)
    assert matching(opened) == 101
    opened.find("#filters [name=all]").click()
    settle(opened)
    assert opened.run(
        "return [...document.querySelectorAll('#flame-graph .runtime')].length"
    ) == 3  # fmt: skip
    opened.find("#group-table .opener").click()
    assert opened.texts("#group-table .stack .function")[0] == "runtime.gopark"


def test_groups_are_sorted_opened_and_grouped_otherwise(opened: Browser) -> None:
    opened.find("#group-table thead th:nth-child(1) button").click()
    assert group_counts(opened) == [10, 30, 60]
    headers = opened.all("#group-table thead th")
    assert [header.get_attribute("aria-sort") for header in headers] == ["ascending"] + [None] * 5
    assert all(header.get_attribute("scope") == "col" for header in headers)
    opened.find("#group-table thead th:nth-child(3) button").click()
    assert opened.texts("#group-table tbody th .function") == ["main.lock", "main.query", "main.serve"]  # fmt: skip
    by = opened.find("#group-by")
    options = [option.text for option in by.find_elements(By.TAG_NAME, "option")]
    assert options == ["stack", "function", "creator", "state", "label tenant"]
    by.send_keys("label")
    assert group_counts(opened) == [40, 30, 30]
    assert sorted(opened.texts("#group-table .breakable")[::2]) == ["(without)", "blue", "red"]


def test_a_group_opens_to_its_stack_and_its_ids(opened: Browser) -> None:
    opener = opened.find("#group-table .opener")
    assert opener.get_attribute("aria-expanded") == "false"
    opener.send_keys(Keys.ENTER)
    assert opened.find("#group-table .opener").get_attribute("aria-expanded") == "true"
    assert opened.texts("#group-table .stack .function") == ["main.query", "main.serve", "main.main"]  # fmt: skip
    assert opened.texts("#group-table .stack .location") == ["/src/main.go:1"] * 3
    facts = dict(zip(opened.texts(".inline dt"), opened.texts(".inline dd"), strict=True))
    assert facts == {
        "Waiting": "1m to 1h",
        "Created by": "main.main /src/main.go:1 in goroutine 1",
        "Labels": "tenant=red (30); tenant=blue (30)",
    }
    ids = opened.texts("#group-table .ids li")
    assert len(ids) == 60
    assert ids[0] == "158 59m"
    opened.find("#group-table .opener").send_keys(Keys.SPACE)
    assert opened.all("#group-table .ids") == []


def test_frames_are_as_wide_as_goroutines_are_many(opened: Browser) -> None:
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


def test_everything_can_be_reached_with_the_tab_key(opened: Browser) -> None:
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


def test_the_theme_is_the_systems_until_the_other_one_is_wanted(opened: Browser) -> None:
    toggle = opened.find("#theme")
    assert brightness(opened) > 600 > 300 > brightness(opened, name="color")
    assert toggle.get_attribute("aria-pressed") == "false"
    opened.prefer("dark")
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
    for selector in (".contents", ".actions", "#zoom-out", "#filters button"):
        assert not opened.find(selector).is_displayed()
    for selector in ("h1", "#flame-graph .frame", "#group-table .stack", "#by-status svg"):
        assert opened.find(selector).is_displayed()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_its_window(opened: Browser, width: int) -> None:
    opened.find("#group-table .opener").click()
    opened.resize(width, 800)
    settle(opened)
    assert opened.run("return document.documentElement.scrollWidth") == width


def test_the_reader_can_save_the_snapshot(opened: Browser) -> None:
    opened.find("#download").click()
    name = "prometheus-1234-20261120T062000Z.json"
    saved = opened.downloads / name
    deadline = time.monotonic() + 20
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(saved.read_text()) == document(SHOP)
    assert opened.find("#notice").text == f"Saved as {name}"


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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_people_who_do_not_see_it_can_use_it(opened: Browser, theme: str, width: int) -> None:
    """What axe, a checker of accessibility, can find, contrast of colours included, is not there."""
    axe = finished_program("axe-core").read_text()
    opened.find("#group-table .opener").click()
    opened.prefer(theme)
    opened.resize(width, 900)
    settle(opened)
    opened.run(f"{axe}; window.axe = axe")
    violations = opened.driver.execute_async_script(
        """const done = arguments[0];
        axe.run({resultTypes: ['violations']}).then(({violations, passes}) => done([
            passes.length, violations.map(({id, nodes}) => [id, nodes[0].html])]), (error) => done([0, String(error)]))"""
    )
    assert violations[0] > 20
    assert violations[1] == []


def test_many_rows_come_some_at_a_time(window: Browser, tmp_path: Path) -> None:
    rows = [Row(i, where=MAIN, stack=(frame(f"main.f{i}"), MAIN)) for i in range(1, 1200)]
    show(window, tmp_path, make_snapshot([*rows, *(Row(9000 + i, stack=(LOCK,)) for i in range(300))]))  # fmt: skip
    assert len(group_counts(window)) == 50
    assert window.find("#group-table .foot").text.startswith("50 of 1,200 shown")
    more = window.find("#group-table .foot button")
    more.click()
    assert len(group_counts(window)) == 100
    assert focused(window).text == "Show 50 more"
    window.all("#group-table .foot button")[1].click()
    assert len(group_counts(window)) == 1100
    window.find("#group-table .opener").send_keys(Keys.ENTER)
    assert len(window.texts("#group-table .ids li")) == 100
    window.find("#group-table .detail-box button").click()
    assert len(window.texts("#group-table .ids li")) == 300
    assert len(window.all("#flame-graph .frame")) < 1000
    assert_quiet(window)


def test_a_very_deep_stack_is_drawn_in_parts(window: Browser, tmp_path: Path) -> None:
    stack = tuple(frame(f"main.f{i}", line=i) for i in range(1000, 0, -1))
    show(window, tmp_path, make_snapshot([Row(1, stack=stack)]))
    assert len(frames(window)) == 101
    window.find("#flame-graph .cut").click()
    found = frames(window)
    assert "main.f150" in found
    assert "main.f20" not in found
    assert_quiet(window)


def test_an_empty_snapshot_has_a_page(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, make_snapshot(processors=(), threads=()))
    assert window.find("#matching").text == "0 of 0 goroutines shown"
    assert window.find("#thread-table").text == "No threads are known."
    assert window.find("#problem-table").text == "None."
    assert_quiet(window)


@pytest.mark.live
@pytest.mark.parametrize("name", ["demo", "prometheus-trixie"])
def test_the_report_of_a_real_program(window: Browser, tmp_path: Path, name: str) -> None:
    page = tmp_path / "incident.html"
    with start("demo") if name == "demo" else running(name) as process:
        assert cli.run(["report", "--pid", str(process.pid), "-o", str(page)]) == 0
    window.open(page)
    snapshot = load(page)
    rows = selected(snapshot.goroutines)
    assert matching(window) == len(rows) > 20
    assert bars(window, "by-status") == by_status(snapshot, rows)
    assert bars(window, "by-reason") == by_wait_reason(snapshot, rows)
    groups = clusters(snapshot, rows, "stack")
    assert group_counts(window) == [len(group) for group in groups][:50]
    window.find("#group-table .opener").click()
    largest = int(snapshot.goroutines.stack[groups[0][0]])
    expected = [call_text(snapshot.frames[i]) for i in shown_frames(snapshot, largest)]
    assert window.texts("#group-table .stack .function") == expected
    assert_quiet(window)


@pytest.mark.live
def test_a_hundred_thousand_goroutines_fit_a_ticket(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "incident.html"
    with start("park", "1.27", Flavour.EXE, "-n", "100000") as process:
        assert cli.run(["report", "--pid", str(process.pid), "-o", str(page)]) == 0
    assert page.stat().st_size < 3_000_000
    window.open(page)
    assert matching(window) > 100_000
    snapshot = load(page)
    names = np.array([call_text(each) == "main.lockLedger" for each in snapshot.frames])
    through = np.add.reduceat(names[snapshot.stack_frames], snapshot.stack_offsets[:-1]) > 0
    fill(window, "text", "lockLedger")
    assert matching(window) == through[snapshot.goroutines.stack].sum()
    assert_quiet(window)
