"""The page of `spyglass serve` in a browser, of a live Go program."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from spyglass.inspector import attach
from spyglass.words.units import size
from tests.children import stopped
from tests.serving import LEAKED, TOKEN, Listening, listening
from tests.support import NEWEST, Flavour, GoProcess, start

if TYPE_CHECKING:
    from tests.browser import Browser

pytestmark = [pytest.mark.live, pytest.mark.go]


@pytest.fixture(scope="module")
def server() -> Iterator[Listening]:
    with listening() as server:
        yield server


def test_from_the_list_down_to_one_stack(
    window: Browser, server: Listening, knots: GoProcess
) -> None:
    """The token becomes a cookie; a process is chosen from the list; a group leads to its stack."""
    from tests.open_serve import enter, go, has_quiet_console, press, shows

    enter(window, server.address)
    press(window, f'.hosts a[href="#/{knots.pid}"]')
    assert TOKEN not in window.driver.current_url
    shows(window, "#live-groups tbody th", "main.askCarrier.func1")
    assert window.texts(".tiles .value")[0] == str(LEAKED + 3)
    shows(window, "#findings .finding", "hold what the other wants")
    press(window, "#live-groups tbody a")
    shows(window, "#group-table .stack", "main.askCarrier.func1")
    assert window.find("#matching").text.startswith(f"{LEAKED} of ")
    go(window, f"{knots.pid}/waits")
    shows(window, ".knots figcaption", "Deadlock of 2 goroutines")
    assert len(window.all(".knots svg .object")) == 2
    assert has_quiet_console(window)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (1280, "light")])
def test_every_view_fits_is_accessible_and_breaks_no_rule(
    window: Browser, server: Listening, knots: GoProcess, width: int, theme: str
) -> None:
    from tests.integration.test_report_page import assert_accessible
    from tests.open_serve import enter, fits, go, has_quiet_console, press, shows, until

    shown = {
        "": (".hosts tbody th", "knots"),
        f"{knots.pid}": ("#live-groups tbody th", "main.askCarrier"),
        f"{knots.pid}/goroutines": ("#group-table tbody th", "main.askCarrier"),
        f"{knots.pid}/waits": (".waits", "mutex"),
        f"{knots.pid}/profiles": ("#record", "CPU"),
        f"{knots.pid}/memory": (".account caption", "Resident memory"),
        f"{knots.pid}/program": ("#thread-table", str(knots.pid)),
    }  # fmt: skip
    enter(window, server.address)
    window.prefer(theme)
    window.resize(width, 800)
    for place, (selector, text) in shown.items():
        go(window, place)
        shows(window, selector, text)
        until(lambda: "waits" not in window.run("return location.hash") or window.all(".knot"))
        press(window, "#pause")  # nothing is to change while it is looked at
        assert fits(window), place
        if width == 360 or place.partition("/")[2] in ("", "memory", "profiles"):
            assert_accessible(
                window
            )  # the other views have the parts of a report, which is tested so
        press(window, "#pause")
    assert has_quiet_console(window)


@pytest.mark.slow
def test_all_can_be_done_with_keys(window: Browser, server: Listening, knots: GoProcess) -> None:
    from selenium.webdriver.common.keys import Keys

    from tests.open_report import focused
    from tests.open_serve import enter, go, press, shows, until

    def key(name: str) -> None:
        window.find("body").send_keys(name)

    enter(window, server.address, str(knots.pid))
    shows(window, "#live-groups tbody th", "main.")
    for number, selector in enumerate(
        ("#live-groups", "#group-table", ".waits", "#record", ".account", "#thread-table"), 1
    ):
        key(str(number))
        until(lambda selector=selector: window.all(selector))  # type: ignore[misc]
    assert focused(window).get_attribute("id") == "main"
    key("2")
    shows(window, "#group-table tbody th", "main.")
    key("/")
    assert focused(window).get_attribute("name") == "text"
    focused(window).send_keys("askCarrier", "2l?")  # letters in a field are text
    until(lambda: window.find("#matching").text.startswith("0 of"))
    window.run("document.activeElement.blur()")
    key("?")
    assert window.find("#keys-dialog").is_displayed()
    window.find("#keys-on").send_keys(Keys.SPACE)  # switch them off
    window.find("#keys-close").send_keys(Keys.ENTER)
    key("l")
    assert f"#/{knots.pid}" in window.driver.current_url
    press(window, "#keys-on")
    go(window, f"{knots.pid}/live")
    shows(window, "#live-groups tbody th", "main.")
    key("p")  # nothing is to be drawn anew meanwhile
    places = set()
    for _ in range(60):  # Tab comes to every control, and each says where it is
        focused(window).send_keys(Keys.TAB)
        at = focused(window)
        places.add(at.get_attribute("id") or at.get_attribute("name") or at.text)
        if at.tag_name != "body":
            assert at.value_of_css_property("outline-style") != "none", at.get_attribute(
                "outerHTML"
            )
    assert places >= {
        "snapshot",
        "report",
        "profile",
        "Options",
        "pause",
        "theme",
        "keys",
        "Goroutines",
        "by",
        "filter",
    }


@pytest.mark.slow
def test_the_flame_graph_of_the_heap_has_what_the_profile_has(
    window: Browser, server: Listening
) -> None:
    from selenium.webdriver.support.ui import Select

    from tests.integration.test_report_page import assert_accessible
    from tests.integration.test_report_profiles import words
    from tests.open_serve import enter, fits, has_quiet_console, press, shows, until

    with start("allocs", NEWEST, Flavour.STRIPPED) as process, stopped(process.pid):
        with attach(process.pid) as program:
            sites = program.heap_profile().by_site()
        allocated, in_use = (sites.amounts[:, number] for number in (1, sites.main_kind))
        innermost = [sites.frames[sites.frames_of(stack)[0]].function for stack in sites.stack]
        large = int(in_use[[name == "main.large" for name in innermost]].sum())
        enter(window, server.address, f"{process.pid}/profiles")
        press(window, 'a[href$="/profiles/heap"]')
        shows(window, "#heap-function-table tbody tr", f"main.large{size(large)}")
        assert f"all samples, {size(int(in_use.sum()))}, 100 %" in words(window, "heap")
        for width, theme in ((360, "dark"), (1280, "light")):
            window.prefer(theme)
            window.resize(width, 900)
            assert fits(window)
            assert_accessible(window)
        chosen = Select(window.find("#heap-choices [name=kind]"))
        chosen.select_by_visible_text("allocated")
        total = f"all samples, {size(int(allocated.sum()))}, 100 %"
        until(lambda: total in words(window, "heap"))
    assert has_quiet_console(window)


@pytest.mark.slow
def test_a_snapshot_a_report_and_a_profile_are_made_and_saved(
    window: Browser, server: Listening, knots: GoProcess
) -> None:
    from tests.open_serve import enter, has_quiet_console, press, shows, until

    enter(window, server.address, str(knots.pid))
    shows(window, "#title", "knots")
    press(window, "#redact")
    for name, label in (("snapshot", "Snapshot"), ("report", "Report")):
        press(window, f"#{name}")
        shows(window, "#jobs a[download]", "Download")
        assert window.texts("#jobs strong")[0].startswith(f"{label} of knots")
        file = window.find("#jobs a[download]").get_attribute("download") or ""
        window.find("#jobs a[download]").click()  # a user's: a script may save one file alone
        saved = window.downloads / file
        until(saved.exists)
        content = saved.read_bytes()
        if name == "snapshot":
            assert json.loads(gzip.decompress(content))["redacted"] is True
        else:
            assert b"main.askCarrier" in content
        press(window, "#jobs button")
        until(lambda: not window.find("#jobs").is_displayed())
    press(window, "#profile")
    shows(window, "#jobs progress")
    press(window, "#jobs button")  # cancel
    until(lambda: not server.service.recordings.jobs())
    window.run(f"location.hash = '#/{knots.pid}/profiles'")
    window.run("document.querySelector('#record select').value = 'wall'")
    window.run("document.querySelectorAll('#record option')[3].value = '1s'")
    press(window, "#record [type=submit]")
    shows(window, "#jobs a", "Flame graph")
    press(window, "#jobs a")
    shows(window, "#wall-flame-graph .frame", "main.askCarrier.func1")
    shows(window, "#wall-function-table th", "main.askCarrier.func1")
    window.find('.profiles a[download$=".pb.gz"]').click()
    until(lambda: [*window.downloads.glob("wall-*.pb.gz")])
    assert has_quiet_console(window)
