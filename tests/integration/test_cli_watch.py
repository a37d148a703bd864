"""`summary --watch` and `report --watch`: what they show, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import spyglass
from spyglass import cli
from spyglass.errors import ProcessChanged, TargetError
from spyglass.runtime.scheduler_watch import SchedulerWatch
from tests.command import piped
from tests.support import MATRIX, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]


def stalled(mode: str) -> GoProcess:
    return start("stalls", MATRIX[-1], Flavour.STRIPPED, mode)


def test_a_summary_shows_what_was_watched() -> None:
    with stalled("calls") as process:
        done = piped("summary", str(process.pid), "--watch", "300ms")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("warning    6 threads are in read of a pipe called by main.readFrom")
    (watched,) = (line for line in lines if line.startswith("watched "))
    assert watched.startswith("watched    for 3")
    assert "run queue 0.0 (most 0)" in watched
    assert "calls      read of a pipe 7" in lines


def test_the_document_and_a_report_have_it(tmp_path: Path) -> None:
    with stalled("calls") as process:
        done = piped("summary", str(process.pid), "--watch", "0.2s", "--json")
        page = tmp_path / "page.html"
        piped("report", str(process.pid), "--watch", "0.2s", "-o", str(page))
    made = json.loads(done.stdout)
    assert made["window"]["window_ns"] >= 200_000_000
    assert len(made["window"]["calls"]) == 7
    assert made["cpu"]["window_ns"] >= made["window"]["window_ns"]
    assert "6 threads are in read of a pipe" in page.read_text()
    saved = spyglass.load(str(page)).window
    assert saved is not None
    assert {call.system_call for call in saved.calls} == {"read"}


def test_a_recording_says_what_hindered_goroutines_meanwhile(tmp_path: Path) -> None:
    with stalled("calls") as process:
        path = tmp_path / "cpu.json"
        done = piped("record", str(process.pid), "-d", "1s", "--mode", "wall", "-o", str(path))
    assert done.returncode == 0
    assert "warning: 6 threads are in read of a pipe called by main.readFrom" in done.stderr


@pytest.mark.parametrize("span", ["99ms", "61m", "0s", "soon"])
def test_a_time_that_is_too_short_or_too_long_is_refused(span: str) -> None:
    with stalled("serve") as process:
        done = piped("summary", str(process.pid), "--watch", span)
    assert done.returncode == 2
    assert "--watch" in done.stderr


def test_ctrl_c_ends_the_watch_and_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(watch: SchedulerWatch, seconds: float) -> None:
        assert seconds == 3600
        watch.look()
        raise KeyboardInterrupt

    monkeypatch.setattr(SchedulerWatch, "run", interrupted)
    with stalled("calls") as process:
        code = cli.run(["summary", str(process.pid), "--watch", "1h"])
    assert code == 0
    assert "watched    for " in capsys.readouterr().out


def test_a_process_that_ends_meanwhile_is_told() -> None:
    with stalled("calls") as process, spyglass.attach(process.pid) as program:
        watch = program.watch()
        process.kill()
        process.wait()
        with pytest.raises(ProcessChanged):
            watch.run(5)


def test_what_does_not_run_cannot_be_watched(tmp_path: Path) -> None:
    core, saved = tmp_path / "core", tmp_path / "saved.json"
    with stalled("calls") as process:
        assert piped("core", str(process.pid), "-o", str(core)).returncode == 0
        assert piped("snapshot", str(process.pid), "-o", str(saved)).returncode == 0
    for file in (core, saved):
        done = piped("summary", str(file), "--watch", "1s")
        assert done.returncode == 2
        assert "--watch needs a running process" in done.stderr
    with spyglass.open_core(str(core)) as program, pytest.raises(TargetError, match="watched"):
        program.watch()


def test_a_watch_goes_on_where_the_runtime_is_not_understood() -> None:
    """What cannot be read is null, and a problem says why, once."""
    with stalled("serve") as process, spyglass.attach(process.pid) as program:
        gone = {"sched", "allp", "memstats"}
        known = {name: at for name, at in program.runtime.globals.items() if name not in gone}
        program.runtime = replace(program.runtime, globals=known)
        snapshot = program.snapshot("top", watch=0.3)
    window = snapshot.window
    assert window is not None
    assert (window.run_queue_mean, window.idle_ps_mean, window.gc_count) == (None, None, None)
    assert window.scheduled is None
    assert len(snapshot.problems) == len(set(snapshot.problems))
    assert any("allp" in problem.detail for problem in snapshot.problems)
