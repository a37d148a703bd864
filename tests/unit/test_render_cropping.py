from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from spyglass.render.cropping import (
    cropped,
    function_and_call_in,
    function_in,
    location_in,
    tail_in,
)

RUN = "github.com/prometheus/prometheus/scrape.(*scrapeLoop).run"


@pytest.mark.parametrize(
    ("width", "name"),
    [
        (80, RUN),
        (57, RUN),
        (56, "scrape.(*scrapeLoop).run"),
        (24, "scrape.(*scrapeLoop).run"),
        (23, "…rape.(*scrapeLoop).run"),
        (5, "….run"),
        (1, "…"),
        (0, ""),
    ],
)
def test_a_function_loses_its_directories_then_its_beginning(width: int, name: str) -> None:
    assert function_in(RUN, width) == name


def test_slashes_in_the_arguments_of_a_generic_function_are_not_its_directories() -> None:
    name = "github.com/a/b.Map[go.shape.string,github.com/c/d.T].Get"
    assert function_in(name, 50) == "b.Map[go.shape.string,github.com/c/d.T].Get"


@pytest.mark.parametrize(
    ("width", "location"),
    [
        (80, "scrape/scrape.go:1371"),
        (21, "scrape/scrape.go:1371"),
        (20, "scrape.go:1371"),
        (14, "scrape.go:1371"),
        (13, "…rape.go:1371"),
        (0, ""),
    ],
)
def test_a_location_keeps_its_last_names(width: int, location: str) -> None:
    assert location_in("/build/prometheus-2.42/scrape/scrape.go:1371", width) == location


@pytest.mark.parametrize("location", ["main.go:7", "?", "src/main.go:7", ""])
def test_a_short_location_stays_as_it_is(location: str) -> None:
    assert location_in(location, 20) == location


def test_wide_characters_count_twice() -> None:
    assert cropped("日本語", 6) == "日本語"
    assert cropped("日本語", 5) == "日本…"
    assert cropped("日本語", 4) == "日…"
    assert tail_in("日本語", 5) == "…本語"
    assert tail_in("日本語", 4) == "…語"


def test_whatever_the_name_it_fits() -> None:
    random.seed(7)
    alphabet = "ab/.[(日é:🙂"
    for _ in range(2000):
        name = "".join(random.choices(alphabet, k=random.randrange(60)))
        width = random.randrange(40)
        for shorten in (cropped, tail_in, function_in, location_in):
            assert cell_len(shorten(name, width)) <= width


def test_a_name_of_a_megabyte_is_no_work() -> None:
    name = "日/" * 500_000
    assert cell_len(function_in(name, 20)) <= 20
    assert cell_len(location_in(name, 20)) <= 20


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (40, "a/b/pkg.Report in sync.(*Mutex).Lock"),
        (36, "a/b/pkg.Report in sync.(*Mutex).Lock"),
        (35, "a/b/pkg.Report in ync.(*Mutex).Lock".replace(" ync", " …nc")),
        (28, "a/b/pkg.Report in …tex).Lock"),
        (27, "a/b/pkg.Report"),
        (13, "pkg.Report"),
        (4, "…ort"),
        (0, ""),
    ],
)
def test_the_call_is_shortened_before_the_function(width: int, shown: str) -> None:
    text = "a/b/pkg.Report in sync.(*Mutex).Lock"
    assert function_and_call_in(text, width) == shown
    assert function_and_call_in("a/b/pkg.Report", width) == function_in("a/b/pkg.Report", width)
