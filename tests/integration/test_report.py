"""Reports in a real browser: what they count, find and list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from spyglass import cli
from spyglass.analysis.counts import by_status, by_wait_reason
from spyglass.analysis.group_by import groups_by
from spyglass.analysis.selection import selected
from spyglass.analysis.shown_frames import shown_frames
from spyglass.analysis.waits import median_waits_ns
from spyglass.export.snapshot_reader import load
from spyglass.model import CpuUse
from spyglass.words.calls import call_text
from spyglass.words.units import duration
from tests.browser import Browser
from tests.finished import running
from tests.open_report import (
    LOCK,
    MAIN,
    assert_quiet,
    bars,
    fill,
    focused,
    frames,
    group_counts,
    matching,
    open_filters,
    settle,
    show,
)
from tests.snapshots import MEMORY, THREADS, Row, frame, make_snapshot
from tests.support import NEWEST, Flavour, start


def test_it_counts_as_the_snapshot_does(opened: Browser) -> None:
    assert opened.find("#matching").text == "100 (+1 runtime) goroutines"
    assert bars(opened, "by-status") == {"waiting": 90, "runnable": 10}
    assert bars(opened, "by-reason") == {"select": 60, "sync.Mutex.Lock": 30}
    assert group_counts(opened) == [60, 30, 10]
    assert opened.texts("#group-table tbody th .function") == ["main.query", "main.lock", "main.serve"]  # fmt: skip


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
    opened.find("#clear").click()
    settle(opened)
    assert matching(opened) == 100


def test_filters_choose_together(opened: Browser) -> None:
    fill(opened, "label", "tenant=blue")
    opened.run(
        "const f = document.forms.filters.elements.wait; f.value = '600e9'; f.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    settle(opened)
    assert matching(opened) == 26  # blue ones wait for 2, 4, ... 60 minutes
    assert opened.find("#matching").text == (
        "26 of 100 (+1 runtime) goroutines match: label tenant=blue, waiting at least 10m"
    )
    fill(opened, "goroutine", "159")
    assert matching(opened) == 1
    opened.find("#group-table .opener").click()
    assert opened.texts("#group-table .ids li") == ["159 ≥1h"]
    fill(opened, "goroutine", "101")
    assert matching(opened) == 0
    assert "No goroutine matches" in opened.find("#group-table").text


def test_states_are_chosen_in_the_list_and_in_the_charts(opened: Browser) -> None:
    open_filters(opened)
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


def test_system_goroutines_and_hidden_frames_are_shown_if_chosen(opened: Browser) -> None:
    assert "runtime.gopark" not in frames(opened)
    open_filters(opened)
    opened.find("#filters [name=system]").click()
    settle(opened)
    assert opened.find("#matching").text == "100 (+1 runtime) goroutines: with runtime goroutines"
    assert sum(bars(opened, "by-status").values()) == sum(group_counts(opened)) == 101
    opened.find("#filters [name=all]").click()
    settle(opened)
    assert opened.run(
        "return [...document.querySelectorAll('#flame-graph .runtime')].length"
    ) == 3  # fmt: skip
    opened.find("#group-table .opener").click()
    assert opened.texts("#group-table .stack .function")[0] == "runtime.gopark"


def test_groups_are_sorted_and_grouped_by_another_key(opened: Browser) -> None:
    opened.find("#group-table thead th:nth-child(1) button").click()
    assert group_counts(opened) == [10, 30, 60]
    headers = opened.all("#group-table thead th")
    assert [header.get_attribute("aria-sort") for header in headers] == ["ascending"] + [None] * 6
    assert all(header.get_attribute("scope") == "col" for header in headers)
    opened.find("#group-table thead th:nth-child(3) button").click()
    assert opened.texts("#group-table tbody th .function") == ["main.lock", "main.query", "main.serve"]  # fmt: skip
    by = opened.find("#group-by")
    options = [option.text for option in by.find_elements(By.TAG_NAME, "option")]
    assert options == ["stack", "function", "creator", "state", "label tenant"]
    by.send_keys("label")
    assert group_counts(opened) == [40, 30, 30]
    assert sorted(opened.texts("#group-table .breakable")[::2]) == [
        "(no label tenant)",
        "blue",
        "red",
    ]


def test_a_group_opens_to_its_stack_and_its_ids(opened: Browser) -> None:
    opener = opened.find("#group-table .opener")
    assert opener.get_attribute("aria-expanded") == "false"
    opener.send_keys(Keys.ENTER)
    assert opened.find("#group-table .opener").get_attribute("aria-expanded") == "true"
    assert opened.texts("#group-table .stack .function") == ["main.query", "main.serve", "main.main"]  # fmt: skip
    assert opened.texts("#group-table .stack .location") == ["/src/main.go:1"] * 3
    facts = dict(zip(opened.texts(".inline dt"), opened.texts(".inline dd"), strict=True))
    assert facts == {
        "Waiting": "oldest ≥1h, median ≥30m",
        "At": "main.query /src/main.go:1",
        "Created by": "main.main /src/main.go:1 in goroutine 1",
        "Labels": "tenant=red (30); tenant=blue (30)",
    }
    ids = opened.texts("#group-table .ids li")
    assert len(ids) == 60
    assert ids[0] == "158 ≥59m"
    opened.find("#group-table .opener").send_keys(Keys.SPACE)
    assert opened.all("#group-table .ids") == []


def test_shares_are_rounded_down_as_in_findings(window: Browser, tmp_path: Path) -> None:
    rows = [Row(i, wait_reason="select", where=MAIN, stack=(MAIN,)) for i in range(999)]
    show(window, tmp_path, make_snapshot([*rows, Row(2000, "runnable", where=LOCK, stack=(LOCK,))]))
    assert window.texts("#by-status td:nth-of-type(2)") == ["99 %", "0.1 %"]


def test_waits_are_ranges_of_lower_bounds(window: Browser, tmp_path: Path) -> None:
    waits = [9, 4, None, 30, 2, 5]  # 4 is the lower median, what is not known is the shortest
    rows = [
        Row(i, wait_reason="select", waiting_ns=wait and wait * 10**9, where=MAIN, stack=(MAIN,))
        for i, wait in enumerate(waits)
    ]
    rows += [
        Row(10 + i, wait_reason="select", waiting_ns=8 * 10**9, where=MAIN, stack=(MAIN, LOCK))
        for i in range(3)
    ]
    rows += [Row(20 + i, wait_reason="select", where=LOCK, stack=(LOCK,)) for i in range(2)]
    rows += [Row(30, "running", where=LOCK, stack=(LOCK, MAIN))]
    snapshot = make_snapshot(rows)
    show(window, tmp_path, snapshot)
    cells = window.texts("#group-table td.number.wide-only")
    assert [cells[i : i + 3][1:] for i in range(0, len(cells), 3)] == [
        ["≥30s", "≥4s"], ["≥8s", "≥8s"], ["?", "?"], ["", ""],
    ]  # fmt: skip
    window.find("#group-by").send_keys("function")
    cells = window.texts("#group-table td.number.wide-only")
    median = median_waits_ns(snapshot, [np.arange(9)])[0]
    assert (cells[1], cells[2]) == ("≥30s", f"≥{duration(median)}") == ("≥30s", "≥8s")


@pytest.mark.parametrize(
    ("gc_count", "words"),
    [
        (0, "No times before the second GC."),
        (1, "No times before the second GC."),
        (3, "Times are not known."),
    ],
)
def test_without_any_wait_there_is_no_column_of_waits(
    window: Browser, tmp_path: Path, gc_count: int, words: str
) -> None:
    rows = [Row(1, wait_reason="select", where=MAIN, stack=(MAIN,))]
    show(window, tmp_path, make_snapshot(rows, memory=replace(MEMORY, gc_count=gc_count)))
    titles = window.texts("#group-table thead button")
    assert titles == ["Count", "Share", "Where", "State", "Created by"]
    assert words in window.find("#group-table caption").text
    assert window.find("#filters [name=wait]").get_attribute("disabled")


def test_threads_show_their_processor_time_the_busiest_first(
    window: Browser, tmp_path: Path
) -> None:
    times = [(5_000_000, 0), (3 * 10**9, 196_000_000), (None, None)]
    threads = tuple(
        replace(THREADS[0], tid=10 + i, cpu_ns=cpu_ns, recent_cpu_ns=recent_ns)
        for i, (cpu_ns, recent_ns) in enumerate(times)
    )
    use = CpuUse(200_000_000, 196_000_000, 4 * 10**9, 2, None)
    show(window, tmp_path, make_snapshot(threads=threads, cpu=use))
    assert window.texts("#thread-table thead button")[:3] == ["Thread", "CPU now", "CPU time"]
    assert window.texts("#thread-table tbody th") == ["11", "10", "12"]
    assert window.texts("#thread-table tbody td:nth-of-type(1)") == ["98 %", "0.0 %", "—"]
    assert window.texts("#thread-table tbody td:nth-of-type(2)") == ["3s", "5ms", "—"]
    show(window, tmp_path, make_snapshot(threads=THREADS))
    assert window.texts("#thread-table thead button")[:2] == ["Thread", "Name"]


def test_many_rows_come_some_at_a_time(window: Browser, tmp_path: Path) -> None:
    rows = [Row(i, where=MAIN, stack=(frame(f"main.f{i}"), MAIN)) for i in range(1, 1200)]
    show(window, tmp_path, make_snapshot([*rows, *(Row(9000 + i, stack=(LOCK,)) for i in range(300))]))  # fmt: skip
    assert len(group_counts(window)) == 10
    assert window.find("#group-table .foot").text.startswith("10 of 1,200 shown")
    more = window.find("#group-table .foot button")
    more.click()
    assert len(group_counts(window)) == 60
    assert focused(window).text == "Show 50 more"
    window.all("#group-table .foot button")[1].click()
    assert len(group_counts(window)) == 1060
    window.find("#group-table .opener").send_keys(Keys.ENTER)
    assert len(window.texts("#group-table .ids li")) == 100
    window.find("#group-table .detail-box button").click()
    assert len(window.texts("#group-table .ids li")) == 300
    assert len(window.all("#flame-graph .frame")) < 1000
    assert_quiet(window)


def test_an_empty_snapshot_has_a_page(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, make_snapshot(processors=(), threads=()))
    assert window.find("#matching").text == "0 goroutines"
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
    groups = groups_by(snapshot, rows, "stack")
    assert group_counts(window) == [len(group) for group in groups][:10]
    window.find("#group-table .opener").click()
    largest = int(snapshot.goroutines.stack[groups[0][0]])
    expected = [call_text(snapshot.frames[i]) for i in shown_frames(snapshot, largest)]
    assert window.texts("#group-table .stack .function") == expected
    assert_quiet(window)


@pytest.mark.live
@pytest.mark.slow
def test_a_hundred_thousand_goroutines_fit_a_ticket(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "incident.html"
    with start("park", NEWEST, Flavour.EXE, "-n", "100000") as process:
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


def test_groups_by_function_name_the_call(window: Browser, tmp_path: Path) -> None:
    lock, wait = frame("sync.(*Mutex).Lock", line=46), frame("sync.(*WaitGroup).Wait", line=9)
    stock = frame("main.stock", line=7)
    rows = [Row(n, where=stock, call=lock, stack=(lock, stock)) for n in (1, 2)]
    rows += [Row(3, where=stock, call=wait, stack=(wait, stock)), Row(4, where=stock)]
    show(window, tmp_path, make_snapshot(rows))
    window.find("#group-by").send_keys("function")
    assert group_counts(window) == [2, 1, 1]
    assert window.texts("#group-table tbody .call") == [
        "in sync.(*Mutex).Lock",
        "in sync.(*WaitGroup).Wait",
    ]
    window.find("#group-table .opener").send_keys(Keys.ENTER)
    facts = dict(zip(window.texts(".inline dt"), window.texts(".inline dd"), strict=True))
    assert facts["In"] == "sync.(*Mutex).Lock /src/main.go:46"
    assert_quiet(window)
