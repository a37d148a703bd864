"""The findings of a report: what `findings` returns, first on the page, and nothing but text."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from spyglass.analysis.findings import NOTHING, Finding, findings
from spyglass.model import CpuSample, CpuUse, Frame, Problem, Snapshot, Throttling
from spyglass.report import page_findings
from tests.pages import Element, Page, page_of
from tests.snapshots import PROCESS, Row, frame, make_snapshot
from tests.unit.test_report_page import facts
from tests.unit.test_report_page_data import HOSTILE, SHOWN

MAIN = frame("main.main")
LOCK = frame("sync.(*Mutex).Lock")
MINUTE_NS = 60 * 10**9


def incident(report: str = "main.report", quote: str = "main.quote") -> Snapshot:
    """A mutex that is held for minutes, a crowd of senders, and a problem."""
    waiting, sending = frame(report), frame(quote)
    rows = [
        Row(
            100 + i, wait_reason="sync.Mutex.Lock", waiting_ns=2 * MINUTE_NS - i, where=waiting,
            call=LOCK, start=MAIN, stack=(waiting, MAIN),
        )
        for i in range(8)
    ]  # fmt: skip
    rows += [
        Row(500 + i, wait_reason="chan send", where=sending, start=sending, stack=(sending,))
        for i in range(50)
    ]
    return make_snapshot(rows, problems=(Problem("torn", "goroutine 17", "moved"),))


def hostile_incident() -> Snapshot:
    """An incident whose functions, file and problem are made to break out of where they stand."""
    made = replace(incident(HOSTILE, f"main.{HOSTILE}"), file=f"{HOSTILE} '\"")
    return replace(made, problems=(Problem(HOSTILE, HOSTILE, HOSTILE),))


def items(page: Page) -> list[Element]:
    """The findings on the page."""
    return [item for item in page.all("li") if "finding" in (item.attributes.get("class") or "")]


def test_the_report_has_the_findings_of_summary_in_their_order() -> None:
    snapshot = incident()
    page = page_of(snapshot)
    expected = findings(snapshot)
    assert [each.severity for each in expected] == ["critical", "warning", "info"]
    for item, finding in zip(items(page), expected, strict=True):
        assert item.attributes["class"] == f"card finding is-{finding.severity}"
        assert item.text.startswith(f"{finding.severity} {finding.title}")
        assert item.text.endswith(f"Next: {finding.next}")
    assert NOTHING not in page.text


def test_the_functions_and_examples_of_a_finding_are_marked() -> None:
    page = page_of(incident())
    assert [code.text for code in page.all("code")][1:4] == [
        "main.report",
        "spyglass dump --pid 1234 --group stack --state sync.Mutex.Lock",
        "main.quote",
    ]
    links = [link for link in page.all("a") if "data-goroutine" in link.attributes]
    assert [link.text for link in links[:5]] == ["100", "101", "102", "103", "104"]
    assert [link.attributes["data-goroutine"] for link in links] == [link.text for link in links]


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_finding_above_info_nothing_is_unusual(count: int) -> None:
    problems = (Problem("torn", "goroutine 17", "moved"),) * count
    page = page_of(make_snapshot(problems=problems))
    assert page.one("p", **{"class": "card is-calm"}).text == NOTHING
    assert [item.attributes["class"] for item in items(page)] == ["card finding is-info"] * count


def test_a_filtered_report_says_that_findings_about_goroutines_are_left_out() -> None:
    note = "Goroutines were filtered: findings about goroutines are left out."
    part = replace(incident(), matched_of=100)
    assert note in page_of(part).one("section", id="findings").text
    assert not any("lock" in item.text for item in items(page_of(part)))
    assert note not in page_of(incident()).text


def test_findings_come_first_and_need_no_script() -> None:
    page = page_of(incident())
    sections = [section.attributes["id"] for section in page.all("section")]
    assert sections == [
        "findings", "goroutines", "flame", "program", "scheduler", "threads", "memory", "problems",
    ]  # fmt: skip
    links = [link.attributes["href"] for link in page.all("a")]
    assert links[:9] == ["#main", *(f"#{section}" for section in sections)]
    section = page.one("section", id="findings")
    assert "hidden" not in section.attributes
    assert "8 goroutines wait in sync.(*Mutex).Lock called by main.report" in section.text


def test_the_detail_of_a_finding_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("crowd", "warning", "many", detail=HOSTILE)
    monkeypatch.setattr(page_findings, "written_findings", lambda _snapshot: (finding,))
    (item,) = items(page_of(make_snapshot()))
    assert item.text == f"warning many{SHOWN}"


def test_hostile_findings_change_no_element_of_the_page() -> None:
    calm = replace(incident(), file="incident.json.gz")
    hostile = page_of(hostile_incident())
    assert [each.name for each in hostile.elements] == [
        each.name for each in page_of(calm).elements
    ]
    texts = [item.text for item in items(hostile)]
    assert f"called by {SHOWN} (" in texts[0]
    assert f"chan send at main.{SHOWN} (" in texts[1]
    assert SHOWN in [code.text for code in hostile.all("code")]
    command = texts[0].partition("Next: ")[2]
    assert shlex.split(command)[2] == f"{SHOWN} '\""
    assert "\x1b" not in hostile.text
    assert "\u202e" not in hostile.text


def with_cpu(use: CpuUse | None) -> dict[str, str]:
    """The facts of a program that uses `use`."""
    snapshot = make_snapshot([Row(1, "running", where=MAIN)], cpu=use)
    return facts(page_of(snapshot))


def test_processor_time_is_shown() -> None:
    throttling = Throttling(100, 5, 3 * 10**9, 10, 1, 10**8)
    samples = (CpuSample(0, "goroutine", 30), CpuSample(None, "g0", 10))
    use = CpuUse(200_000_000, 300_000_000, 480 * 10**9, 4, 1.5, throttling, samples)
    found = with_cpu(use)
    assert found["CPU"] == "1.50"
    assert found["Now"] == "1.50 of 4 cores (limit 1.5)"
    assert found["Measured over"] == "200ms"
    assert found["Since start"] == "8m (0.10 cores)"
    assert found["Throttled"] == "3s"
    assert found["Samples of running threads"] == "40"
    assert found["in main.main"] == "75 % (30)"
    assert found["in the scheduler or garbage collector"] == "25 % (10)"


def test_processor_time_that_is_not_known_is_no_number() -> None:
    assert "CPU" not in with_cpu(None)
    assert "Now" not in with_cpu(None)
    found = with_cpu(CpuUse(None, None, None, None, None))
    assert "CPU" not in found
    assert found["Now"] == found["Since start"] == found["Measured over"] == "not known"
    assert "Throttled" not in found


def test_hostile_samples_are_shown_as_text() -> None:
    evil = Frame(HOSTILE, HOSTILE, 1, 0x1000)
    use = CpuUse(200_000_000, 400_000_000, None, 2, None, None, (CpuSample(0, "goroutine", 20),))
    snapshot = make_snapshot([Row(1, "running", where=evil)], cpu=use, process=PROCESS)
    page = page_of(snapshot)
    assert facts(page)[f"in {SHOWN}"] == "100 % (20)"
    assert f"100 % in {SHOWN}" in items(page)[0].text
