"""The page of a profile in a browser, and profiles in speedscope's own page."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft7Validator
from selenium.webdriver.support.ui import Select

from spyglass.analysis.profile_diff import profile_difference
from spyglass.analysis.site_diff import site_difference
from spyglass.formats import exporter
from spyglass.profile import Profile
from tests.browser import Browser
from tests.finished import finished_program
from tests.integration.test_report_page import assert_accessible
from tests.made_profiles import SHOP, SampleRow, make_profile
from tests.made_sites import HEAP
from tests.open_report import assert_quiet, frames, settle
from tests.snapshots import frame

FUNCTIONS = {
    "all samples": "1 s", "main.main": "850 ms", "example.com/shop.(*Server).serve": "850 ms",
    "crypto/sha256.block": "440 ms", "sort.Slice": "250 ms", "example.com/shop.byPrice": "250 ms",
    "runtime.mallocgc": "160 ms", "runtime.schedule": "100 ms", "[C]": "50 ms",
}  # fmt: skip


def show(window: Browser, folder: Path, profile: Profile, by: tuple[str, ...] = ()) -> None:
    page = folder / "cpu.html"
    with page.open("wb") as stream:
        exporter("profile", "html").write(profile, stream, by=by)
    window.open(page)


@pytest.fixture
def opened_profile(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    show(window, tmp_path, SHOP)
    yield window
    assert_quiet(window)


def times(window: Browser) -> dict[str, str]:
    """The time of each frame of the flame graph."""
    labels = ((each.get_attribute("aria-label") or "") for each in frames(window).values())
    return {label.split(", ")[0]: label.split(", ")[1] for label in labels}


def choose(window: Browser, name: str, text: str) -> None:
    Select(window.find(f"#choices [name={name}]")).select_by_visible_text(text)
    settle(window)


def rows(window: Browser) -> dict[str, list[str]]:
    """Self and total of each function in the table."""
    names = window.texts("#function-table tbody th")
    cells = [window.texts(f"#function-table tbody td:nth-of-type({n})") for n in (1, 3)]
    return {name: list(found) for name, *found in zip(names, *cells, strict=True)}


def test_the_width_of_a_frame_is_its_time(opened_profile: Browser) -> None:
    assert times(opened_profile) == FUNCTIONS
    found = frames(opened_profile)
    whole = found["all samples"].rect["width"]
    assert found["crypto/sha256.block"].rect["width"] == pytest.approx(0.44 * whole, abs=2)
    assert opened_profile.texts("#flame-legend li") == [
        "this program", "dependencies", "standard library", "Go runtime", "not a function",
    ]  # fmt: skip
    found["sort.Slice"].click()
    assert opened_profile.find("#flame-detail").text == (
        "sort.Slice · /src/main.go · 250 ms · 24 % of all · 29 % of its caller"
    )


def test_the_table_has_self_and_total(opened_profile: Browser) -> None:
    assert rows(opened_profile)["crypto/sha256.block"] == ["440 ms", "440 ms"]
    assert rows(opened_profile)["main.main"] == ["0", "850 ms"]
    assert next(iter(rows(opened_profile))) == "crypto/sha256.block"


def test_the_flame_graph_is_split_by_a_label(opened_profile: Browser) -> None:
    choose(opened_profile, "by", "label tenant")
    assert times(opened_profile)["tenant=blue"] == "400 ms"
    assert times(opened_profile)["[goroutine not known]"] == "60 ms"
    choose(opened_profile, "value", "tenant=red (350 ms)")
    assert times(opened_profile) == {
        "all samples": "350 ms", "tenant=red": "350 ms", "main.main": "350 ms",
        "example.com/shop.(*Server).serve": "350 ms", "sort.Slice": "250 ms",
        "example.com/shop.byPrice": "250 ms", "runtime.mallocgc": "100 ms",
    }  # fmt: skip
    assert "crypto/sha256.block" not in rows(opened_profile)
    choose(opened_profile, "by", "nothing")
    assert times(opened_profile) == FUNCTIONS


def test_every_grouping_is_offered(opened_profile: Browser) -> None:
    offered = opened_profile.texts("#choices [name=by] option")
    assert offered == ["nothing", "label tenant", "state", "thread", "goroutine"]
    choose(opened_profile, "by", "goroutine")
    assert times(opened_profile)["goroutine 8"] == "350 ms"


def test_the_inverted_flame_graph_begins_with_leaves(opened_profile: Browser) -> None:
    opened_profile.find("#choices [name=inverted]").click()
    settle(opened_profile)
    top = [
        name
        for name, each in frames(opened_profile).items()
        if each.get_attribute("aria-level") == "2"
    ]
    assert top == [
        "crypto/sha256.block", "example.com/shop.byPrice", "runtime.mallocgc", "runtime.schedule", "[C]",
    ]  # fmt: skip
    assert times(opened_profile)["all samples"] == "1 s"


def test_search_says_how_much_time_matches(opened_profile: Browser) -> None:
    opened_profile.find("#highlight").send_keys("sha256")
    settle(opened_profile)
    assert opened_profile.find("#highlighted").text == "In 440 ms, 43 %"
    assert "hit" in (frames(opened_profile)["crypto/sha256.block"].get_attribute("class") or "")


def test_the_grouping_of_the_command_is_chosen(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, SHOP, by=("label:tenant",))
    assert "tenant=blue" in times(window)
    assert_quiet(window)


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_and_is_accessible(opened_profile: Browser, width: int, theme: str) -> None:
    opened_profile.prefer(theme)
    opened_profile.resize(width, 900)
    choose(opened_profile, "by", "label tenant")
    assert opened_profile.run("return document.documentElement.scrollWidth") <= width
    assert_accessible(opened_profile)


def test_names_are_only_ever_text(window: Browser, tmp_path: Path) -> None:
    name = "main.</script><img src=x onerror=alert(1)>"
    row = SampleRow((frame(name),), 5, labels={"<b>": "<i>"}, state="</select>")
    show(window, tmp_path, make_profile([row]), by=("label:<b>",))
    assert name in times(window)
    assert window.all("img, b, i") == []
    assert_quiet(window)


@pytest.mark.slow
def test_a_large_profile_is_shown_soon(window: Browser, tmp_path: Path) -> None:
    stacks = [
        tuple(frame(f"main.f{(n * depth) % 997}") for depth in range(1, 31)) for n in range(20_000)
    ]
    profile = make_profile([SampleRow(stack, 10**6) for stack in stacks[:2000]])
    show(window, tmp_path, profile)
    assert window.seconds_to_load() < 5
    assert times(window)["all samples"] == "2 s"


@pytest.fixture
def opened_diff(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    """`SHOP` with less hashing, nothing on g0, and a new function."""
    rows = [
        SampleRow(
            (frame("crypto/sha256.block", line=3), frame("main.main", line=30)), 60_000_000, 6
        ),
        SampleRow((frame("main.fresh"), frame("main.main", line=30)), 700_000_000, 70),
    ]
    before = [
        SampleRow(
            (frame("crypto/sha256.block", line=9), frame("main.main", line=30)), 440_000_000, 44
        ),
        SampleRow((frame("runtime.schedule"),), 100_000_000, 10),
        SampleRow((frame("main.same"),), 100_000_000, 10),
    ]
    rows.append(SampleRow((frame("main.same"),), 110_000_000, 11))
    found = profile_difference(make_profile(before), make_profile(rows))
    page = tmp_path / "diff.html"
    with page.open("wb") as stream:
        exporter("profile difference", "html").write(found, stream)
    window.open(page)
    yield window
    assert_quiet(window)


def colours(window: Browser) -> dict[str, str]:
    """The class of each frame."""
    found = frames(window)
    return {name: (each.get_attribute("class") or "").split()[1] for name, each in found.items()}


def test_what_changed_has_colours(opened_diff: Browser) -> None:
    assert colours(opened_diff) == {
        "all samples": "root", "main.main": "more", "main.fresh": "much-more",
        "crypto/sha256.block": "much-less", "main.same": "runtime",
    }  # fmt: skip
    assert times(opened_diff)["main.fresh"] == "70 ms/s"
    label = frames(opened_diff)["crypto/sha256.block"].get_attribute("aria-label") or ""
    assert label.startswith("crypto/sha256.block, 6 ms/s, was 44 ms/s (-38 ms/s), ")
    assert "much more" in opened_diff.texts("#flame-legend li")
    choose(opened_diff, "side", "before")
    assert colours(opened_diff)["runtime.schedule"] == "much-less"
    assert "main.fresh" not in colours(opened_diff)


def test_the_largest_changes_come_first(opened_diff: Browser) -> None:
    names = opened_diff.texts("#function-table tbody th")
    changes = opened_diff.texts("#function-table tbody td:nth-of-type(1)")
    assert list(zip(names, changes, strict=True))[:4] == [
        ("main.fresh", "+70 ms/s"), ("crypto/sha256.block", "-38 ms/s"), ("runtime.schedule", "-10 ms/s"),
        ("main.same", "~+1 ms/s"),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_of_two_profiles_is_accessible(
    opened_diff: Browser, width: int, theme: str
) -> None:
    opened_diff.prefer(theme)
    opened_diff.resize(width, 900)
    settle(opened_diff)
    assert opened_diff.run("return document.documentElement.scrollWidth") <= width
    assert_accessible(opened_diff)


def test_the_picture_is_drawn(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "cpu.svg"
    with page.open("wb") as stream:
        exporter("profile", "svg").write(SHOP, stream, by=("label:tenant",))
    window.open(page)
    assert "CPU profile of prometheus (pid 1234)" in window.texts("text.title")
    assert "tenant=red: 0.35 s, 35.0 %" in window.texts("g > title")
    right = window.run(
        "return Math.max(...[...document.querySelectorAll('g rect')].map(r => r.getBoundingClientRect().right))"
    )
    assert right <= 1190.5
    assert window.complaints() == []


def test_speedscope_shows_what_was_written(window: Browser, tmp_path: Path) -> None:
    index = finished_program("speedscope")
    stream = io.BytesIO()
    exporter("profile", "speedscope").write(SHOP, stream, by=("label:tenant",))
    schema = json.loads((index.parent / "file-format-schema.json").read_text())
    Draft7Validator(schema).validate(json.loads(stream.getvalue()))
    content = base64.b64encode(stream.getvalue()).decode()
    loader = tmp_path / "profile.js"
    loader.write_text(f"speedscope.loadFileFromBase64('cpu.speedscope.json', '{content}')")
    window.driver.get("about:blank")
    window.driver.get(f"{index.as_uri()}#localProfilePath={loader}")
    deadline = time.monotonic() + 20
    while "tenant=blue" not in window.driver.title + window.find("body").text:
        assert time.monotonic() < deadline, window.find("body").text
        time.sleep(0.2)


def test_a_heap_profile_shows_each_of_its_numbers(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "heap.html"
    with page.open("wb") as stream:
        exporter("sites", "html").write(HEAP, stream)
    window.open(page)
    assert times(window) == {
        "all samples": "3.5 MiB", "main.main": "3.5 MiB", "example.com/shop.(*Server).serve": "3.5 MiB",
        "example.com/shop.(*cache).add": "3.0 MiB", "strings.Repeat": "3.0 MiB",
    }  # fmt: skip
    assert rows(window)["example.com/shop.(*Server).serve"] == ["512.0 KiB", "3.5 MiB"]
    choose(window, "kind", "objects allocated")
    assert times(window)["strings.Repeat"] == "4,000"
    assert rows(window)["example.com/shop.(*Server).serve"] == ["8,002", "12,002"]
    assert_quiet(window)
    assert_accessible(window)


def test_two_heap_profiles_are_coloured_by_what_changed(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    more = replace(HEAP, amounts=HEAP.amounts * np.array([[4], [1], [1]]))
    with page.open("wb") as stream:
        exporter("site difference", "html").write(site_difference(HEAP, more), stream)
    window.open(page)
    found = frames(window)
    assert "much-more" in (found["strings.Repeat"].get_attribute("class") or "").split()
    label = found["strings.Repeat"].get_attribute("aria-label") or ""
    assert label.startswith("strings.Repeat, 12.0 MiB, was 3.0 MiB (+9.0 MiB), ")
    assert window.texts("#function-table tbody th")[0] == "example.com/shop.(*cache).add"
    assert window.texts("#function-table tbody td:nth-of-type(2)")[0] == "+9.0 MiB"
    assert_quiet(window)
    assert_accessible(window)
