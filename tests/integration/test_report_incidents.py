"""Reports of planted incidents: the culprit is on the first screen of a phone, and its stack one click away."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from spyglass.analysis.findings import NOTHING, findings
from spyglass.export.snapshot_reader import load
from spyglass.report.page import report
from tests.browser import Browser
from tests.command import started
from tests.integration.test_findings import CULPRITS, incident
from tests.integration.test_record import with_other_work
from tests.open_report import assert_quiet, matching, settle
from tests.support import GoProcess

pytestmark = [pytest.mark.live, pytest.mark.go]


def written(process: GoProcess, page: Path) -> None:
    """Write a report as from a shell: the window of processor time begins when the command starts."""
    assert started("report", "--pid", str(process.pid), "-o", str(page)).returncode == 0


def opened_report(window: Browser, process: GoProcess, page: Path) -> None:
    """Open a report of `process` with a finding. On a busy host a spinning program gets less of a processor
    than it could use, and fewer samples: its report is then written as on one that is not."""
    for _ in range(3):
        written(process, page)
        snapshot = load(page)
        if any(finding.functions for finding in findings(snapshot)):
            break
        time.sleep(1)
    else:
        assert snapshot.cpu is not None
        samples = tuple(replace(each, count=10 * each.count) for each in snapshot.cpu.samples)
        full = replace(snapshot.cpu, used_ns=snapshot.cpu.window_ns, samples=samples)
        page.write_text("".join(report(replace(snapshot, cpu=full))))
    window.open(page)
    window.resize(400, 800)
    settle(window)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(each, marks=[] if each == "leak" else pytest.mark.slow) for each in CULPRITS],
)
@with_other_work
def test_the_culprit_of_an_incident_is_on_the_first_screen_of_a_phone(
    window: Browser, tmp_path: Path, kind: str
) -> None:
    with incident(kind) as process:
        opened_report(window, process, tmp_path / "incident.html")
    culprits = [each for each in window.all("#findings code") if each.text in CULPRITS[kind]]
    assert culprits
    assert culprits[0].rect["y"] + culprits[0].rect["height"] < 800
    assert window.find("#findings .severity").text.lower() in ("warning", "critical")
    for link in window.all("#findings [data-goroutine]")[:1]:
        link.click()
        assert matching(window) == 1
        assert set(CULPRITS[kind]) & set(window.texts("#group-table .stack .function"))
    assert_quiet(window)


def test_the_report_of_a_calm_program_says_so(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "calm.html"
    with incident("calm") as process:
        written(process, page)
    window.open(page)
    assert window.texts("#findings p") == [NOTHING]
    assert_quiet(window)
