"""Profiles in reports: their flame graphs beside that of goroutines, and recordings of a real program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from spyglass.analysis.filters import Filter
from spyglass.cli.filter_options import GoroutineFilter
from spyglass.cli.report_profiles import recorded_profiles
from spyglass.cli.sources import ProcessSource
from spyglass.profile import Profile
from spyglass.report.page import report
from tests.browser import Browser
from tests.children import in_child
from tests.command import piped
from tests.integration.test_report_page import assert_accessible
from tests.integration.test_threads import forbid_perf_events
from tests.made_profiles import SHOP, SampleRow, make_profile
from tests.made_sites import HEAP
from tests.open_report import SHOP as GOROUTINES
from tests.open_report import assert_quiet, frames, settle
from tests.snapshots import frame
from tests.support import NEWEST, Flavour, start

WALL = make_profile(
    [SampleRow((frame("main.wait"), frame("main.main")), 3 * 10**9, 30, 1, state="select")],
    mode="wall",
    rate_hz=10.0,
)


def show_profiles(window: Browser, folder: Path, *profiles: Profile) -> None:
    page = folder / "incident.html"
    page.write_text("".join(report(GOROUTINES, profiles)), "utf-8")
    window.open(page)


@pytest.fixture
def profiled(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    show_profiles(window, tmp_path, SHOP, WALL)
    yield window
    assert_quiet(window)


def items(window: Browser, prefix: str) -> dict[str, WebElement]:
    found = window.all(f"#{prefix}-flame-graph [role=treeitem]")
    return {(each.get_attribute("aria-label") or "").split(",")[0]: each for each in found}


def words(window: Browser, prefix: str) -> list[str]:
    return [each.get_attribute("aria-label") or "" for each in items(window, prefix).values()]


def test_a_heap_profile_is_beside_profiles_of_time(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "incident.html"
    page.write_text("".join(report(GOROUTINES, (SHOP,), heap=HEAP)), "utf-8")
    window.open(page)
    assert "strings.Repeat, 3.0 MiB, 85 %" in words(window, "heap")
    assert "main.main" in items(window, "cpu")
    Select(window.find("#heap-choices [name=kind]")).select_by_visible_text("objects allocated")
    settle(window)
    assert any(each.startswith("strings.Repeat, 4,000,") for each in words(window, "heap"))
    assert_quiet(window)


def test_each_profile_has_a_flame_graph_and_a_table_of_its_own(profiled: Browser) -> None:
    assert "crypto/sha256.block, 440 ms, 43 %" in words(profiled, "cpu")
    assert words(profiled, "wall") == [
        "all samples, 3 s, 100 %", "main.main, 3 s, 100 %", "main.wait, 3 s, 100 %", "[select], 3 s, 100 %",
    ]  # fmt: skip
    assert next(iter(frames(profiled))) == "all goroutines"
    assert profiled.texts("#cpu-function-table tbody th")[0] == "crypto/sha256.block"
    assert profiled.texts("#wall-function-table tbody th")[0] in ("[select]", "main.wait")
    assert "lost 2, throttled 1, cut stacks 0" in profiled.texts("#cpu li")


def test_zoom_and_search_in_one_change_no_other(profiled: Browser) -> None:
    before = words(profiled, "wall"), list(frames(profiled))
    profiled.find("#cpu-highlight").send_keys("sha256")
    settle(profiled)
    assert profiled.find("#cpu-highlighted").text == "In 440 ms, 43 %"
    assert profiled.find("#wall-highlighted").text == profiled.find("#highlighted").text == ""
    items(profiled, "cpu")["sort.Slice"].click()
    assert "runtime.schedule" not in items(profiled, "cpu")
    assert (words(profiled, "wall"), list(frames(profiled))) == before


def test_keys_move_and_zoom(profiled: Browser) -> None:
    profiled.run("arguments[0].focus()", items(profiled, "cpu")["all samples"])
    for key in (Keys.ARROW_DOWN, Keys.ENTER):
        profiled.driver.switch_to.active_element.send_keys(key)
    assert profiled.driver.switch_to.active_element.text == "main.main"
    assert "runtime.schedule" not in items(profiled, "cpu")
    profiled.driver.switch_to.active_element.send_keys(Keys.HOME)
    assert "runtime.schedule" in items(profiled, "cpu")


def test_a_profile_is_split_by_a_label(profiled: Browser) -> None:
    Select(profiled.find("#cpu-choices [name=by]")).select_by_visible_text("label tenant")
    settle(profiled)
    assert "tenant=blue, 400 ms, 39 %" in words(profiled, "cpu")


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_and_is_accessible(profiled: Browser, width: int, theme: str) -> None:
    profiled.prefer(theme)
    profiled.resize(width, 900)
    settle(profiled)
    assert profiled.run("return document.documentElement.scrollWidth") <= width
    assert_accessible(profiled)


def test_names_are_only_ever_text(window: Browser, tmp_path: Path) -> None:
    name = "main.</script><img src=x onerror=alert(1)>"
    row = SampleRow((frame(name),), 5, labels={"<b>": "<i>"}, state="</select>")
    show_profiles(window, tmp_path, make_profile([row]), replace(WALL, states=("</script>",)))
    assert name in items(window, "cpu")
    assert window.all("main img, main b, main i") == []
    assert_quiet(window)


def test_a_running_program_is_recorded_for_its_report(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "hot.html"
    with start("hot", NEWEST, Flavour.STRIPPED) as process:
        made = piped("report", str(process.pid), "--profile", "1s", "-o", str(page))
    assert made.returncode == 0, made.stderr
    window.open(page)
    assert window.texts("nav a")[1:4] == ["Waits", "CPU", "Wall clock"]
    cpu, wall = items(window, "cpu"), items(window, "wall")
    assert {"main.work", "main.hot", "main.warm"} <= cpu.keys()
    assert cpu["main.hot"].rect["width"] > cpu["main.warm"].rect["width"]
    assert {"main.hot", "[IO wait]"} & wall.keys()
    assert_quiet(window)


def test_where_samples_are_not_allowed_there_is_the_wall_clock_alone() -> None:
    def modes() -> list[str]:
        forbid_perf_events()
        profiles = recorded_profiles(
            ProcessSource(pid), GoroutineFilter(Filter(), None, None), 200_000_000, redact=True
        )
        assert all(each.host is None for each in profiles)
        return [each.mode for each in profiles]

    with start("hot", NEWEST, Flavour.STRIPPED) as process:
        pid = process.pid
        assert in_child(modes) == ["wall"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1", "--profile", "0s"], "must be longer than 0s"),
        (["--core", "x", "--profile", "1s"], "--profile requires a process"),
        (["1", "--profile", "1s", "--creator", "x"], "do not apply to samples"),
    ],
)
def test_wrong_usage_is_reported(arguments: list[str], words: str) -> None:
    shown = piped("report", *arguments)
    assert shown.returncode == 2
    assert words in shown.stderr
