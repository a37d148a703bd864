"""``spyglass top`` as a user runs it, of real programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from spyglass import inspector
from spyglass.cli.top_feed import LiveTicks
from spyglass.runtime.scheduler import cpu_use
from spyglass.tui.view_state import Model
from tests.children import in_child
from tests.command import SPYGLASS, piped
from tests.integration.test_record import with_other_work
from tests.memory_use import memory_in_use
from tests.running import spinning
from tests.support import MATRIX, Flavour, GoProcess, build, start
from tests.terminal import ENTERS, LEAVES, on_screen

pytestmark = [pytest.mark.go, pytest.mark.live]


@pytest.fixture(scope="module")
def leaked() -> Iterator[GoProcess]:
    """A program that has leaked goroutines and rests: one that works would take a processor all the while."""
    with start("leak") as process:
        assert process.ask("leak 40") == "leaked"
        yield process


@pytest.fixture
def leak() -> Iterator[GoProcess]:
    with start("leak") as process:
        yield process


def groups(line: str) -> dict[str, dict[str, int]]:
    """The groups of a line of JSON by their functions: of those of one function, which called different
    ones, the first."""
    found = reversed(json.loads(line)["groups"])
    return {group["where"]["function"]: group for group in found if group["where"]}


def test_frames_are_plain_text_one_for_each_interval(leaked: GoProcess):
    shown = piped("top", "-p", str(leaked.pid), "--count", "3", "--interval", "200ms")
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    frames = shown.stdout.split("\n\n")
    assert len([frame for frame in frames if frame.strip()]) == 3
    assert all("main.askCarrier" in frame for frame in frames if frame.strip())
    assert re.search(r"cpu \d+%", frames[1])


def test_lines_of_json_count_what_the_program_does(leak: GoProcess):
    command = [*SPYGLASS, "top", "-p", str(leak.pid), "--json", "--interval", "200ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        first = json.loads(top.stdout.readline())
        assert first["goroutines"] == leak.truth().num_goroutine
        assert leak.ask("leak 7") == "leaked"
        for line in top.stdout:
            group = groups(line).get("main.askCarrier")
            if group and group["count"] == 7:
                break
        assert group is not None
        assert group["since_start"] == 7
        assert json.loads(line)["goroutines"] == leak.truth().num_goroutine
        top.kill()


def test_a_leak_is_marked_and_steady_groups_are_not():
    with GoProcess([build("leak"), "-rate", "40"]) as leak:
        shown = piped("top", "-p", str(leak.pid), "--json", "--count", "8", "--interval", "250ms")
    found = groups(shown.stdout.splitlines()[-1])
    assert found["main.askCarrier"]["growing"]
    assert not found["main.pack"]["growing"]


def cpu_seconds(pid: int) -> float:
    """User and system time (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_processor_time_is_that_of_the_kernel():
    ticks = LiveTicks()
    with start("demo") as demo:
        ticks.attach(demo.pid)
        try:
            assert ticks.take(False).cpu_percent is None
            before, began = cpu_seconds(demo.pid), time.monotonic()
            time.sleep(2)
            percent = ticks.take(False).cpu_percent
            after, ended = cpu_seconds(demo.pid), time.monotonic()
        finally:
            ticks.close()
    assert after > before
    assert percent == pytest.approx((after - before) * 100 / (ended - began), abs=5)


def test_the_exit_code_says_that_the_process_ended(leak: GoProcess):
    command = [*SPYGLASS, "top", "-p", str(leak.pid), "--interval", "100ms"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as top:
        assert top.stdout is not None
        assert top.stdout.readline().startswith("taken ")
        leak.kill()
        out, err = top.communicate(timeout=20)
    assert top.returncode == 1
    assert "ended while it was read" in out
    assert err.startswith("spyglass: process ")


def test_the_next_process_of_the_name_is_followed(tmp_path: Path):
    program = tmp_path / "checkout-svc"
    program.write_bytes(build("leak").read_bytes())
    program.chmod(0o755)
    command = [*SPYGLASS, "top", "--follow-name", program.name, "--json", "--interval", "100ms"]
    with GoProcess([program]) as first:
        top = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert top.stdout is not None
        assert json.loads(top.stdout.readline())["pid"] == first.pid
    try:
        with GoProcess([program]) as second:
            lines = (json.loads(line) for line in top.stdout)
            seen = []
            for line in lines:
                seen.append(line)
                if line.get("pid") == second.pid:
                    break
        assert any(line.get("ended") for line in seen)
        assert seen[-1]["groups"][0]["change"] is None
    finally:
        top.kill()
        top.communicate()


@pytest.mark.slow
def test_a_saved_snapshot_a_series_and_a_core(leak: GoProcess, tmp_path: Path):
    series, core = tmp_path / "series", tmp_path / "small.core"
    for number in range(2):
        assert leak.ask("leak 5") == "leaked"
        saved = piped("snapshot", "-p", str(leak.pid), "-o", str(tmp_path / f"{number}.json.gz"))
        assert saved.returncode == 0, saved.stderr
    assert piped("core", "-p", str(leak.pid), "-o", str(core)).returncode == 0
    for arguments in ([str(tmp_path / "1.json.gz")], ["--core", str(core)]):
        shown = piped("top", *arguments, "--json")
        assert shown.returncode == 0, shown.stderr
        assert groups(shown.stdout)["main.askCarrier"]["count"] == 10
    series.mkdir()
    for number in range(2):
        (tmp_path / f"{number}.json.gz").rename(series / f"{number}.json.gz")
    with on_screen(str(series)) as screen:
        screen.until("1 of 2")
        screen.press("\x1b[C")
        screen.until("2 of 2")
        screen.press("q")
        assert screen.end() == 0


def watched(pid: int, seconds: float) -> Model:
    """The view of process `pid` after five ticks in `seconds`."""
    ticks, model = LiveTicks(), Model()
    ticks.attach(pid)
    try:
        for _ in range(5):
            began_ns = time.monotonic_ns()
            tick, took_ns = ticks.take(False), time.monotonic_ns() - began_ns
            model.note(replace(tick, began_ns=began_ns, took_ns=took_ns, pause_ns=1))
            time.sleep(seconds / 4)
    finally:
        ticks.close()
    return model


@pytest.mark.matrix
@pytest.mark.parametrize("minor", MATRIX)
def test_before_the_first_gc_waits_are_those_that_were_seen(minor: str):
    with start("park", minor, Flavour.EXE, "-n", "40") as process:
        began = time.monotonic()
        model = watched(process.pid, 1.0)
        elapsed_ns = (time.monotonic() - began) * 1e9
    rows = {row.where[0].function: row for row in model.rows if row.where[0]}
    parked = [row for name, row in rows.items() if name in PARKED]
    assert sum(row.count for row in parked) == 40
    assert {row.wait_ns for row in model.rows} == {None}
    for row in parked:
        if minor in ("1.13", "1.14", "1.15", "1.16"):  # without a count of stops
            assert row.seen_waiting_ns is None
        else:
            assert 0.4e9 < (row.seen_waiting_ns or 0) < elapsed_ns / 2
    assert rows["main.heartbeat"].seen_waiting_ns is None


PARKED = (
    "main.awaitReply", "main.awaitJob", "main.awaitEither", "main.sendResult", "main.lockLedger",
)  # fmt: skip


@pytest.fixture(scope="module")
def contended() -> Iterator[GoProcess]:
    with start("contended", MATRIX[-1], Flavour.EXE, "8") as process:
        yield process


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("spin", "% in main.spin"),
        ("mutex", "in sync.(*Mutex).Lock called by main.report"),
        ("leak", "of goroutines are in chan send at main.quote"),
        pytest.param(
            "pool", "of goroutines are in chan send at main.order", marks=pytest.mark.slow
        ),
        ("calm", "nothing unusual"),
    ],
)
@with_other_work
def test_the_first_screen_names_the_culprit(kind: str, words: str):
    with (
        start("incident", MATRIX[-1], Flavour.STRIPPED, kind) as process,
        on_screen("-p", str(process.pid), width=80, height=24) as screen,
    ):
        screen.until(words, 60)  # of a busy host a program that spins gets its share late
        screen.press("q")
        assert screen.end() == 0


def test_all_findings_are_listed_with_what_to_run_next(contended: GoProcess):
    with on_screen("-p", str(contended.pid), width=80, height=24) as screen:
        screen.until("goroutines wait in sync.(*Mutex).Lock called by main.")
        screen.press("f")
        screen.until("spyglass dump --pid")
        screen.press("q")
        assert screen.end() == 0


def test_the_mouse_selects_opens_and_sorts(contended: GoProcess):
    """Below three findings and five lines of the header are the titles."""

    def click(x: int, y: int) -> str:
        return f"\x1b[<0;{x};{y}M\x1b[<0;{x};{y}m"

    with on_screen("-p", str(contended.pid), width=80, height=24) as screen:
        screen.until("main.reserveStock")
        screen.press(click(70, 9))
        screen.until("where▲")
        screen.press(click(70, 11))
        screen.press("\x1b[<65;70;11M")
        screen.press(click(70, 11))
        screen.until("where▲")
        screen.press(click(70, 11))
        screen.until("goroutine state")
        screen.press("q")
        assert screen.end() == 0


def test_on_a_terminal_down_to_a_stack_in_two_keys(leaked: GoProcess):
    with on_screen("-p", str(leaked.pid), "--interval", "200ms") as screen:
        screen.until("main.askCarrier")
        screen.press("\r")
        screen.until("goroutine state")
        screen.press("\r")
        screen.until("created by")
        screen.press("q")
        assert screen.end() == 0
        assert LEAVES in screen.received


def test_what_is_typed_fast_behind_a_slash_is_no_command(leaked: GoProcess, tmp_path: Path):
    with on_screen("-p", str(leaked.pid), "--interval", "200ms", cwd=tmp_path) as screen:
        screen.until("main.askCarrier")
        screen.press("/sep")  # commands too: save, report, pause
        screen.until("Enter applies")
        time.sleep(1)
        screen.press("\x03")
        assert screen.end() == 0
    assert b"PAUSED" not in screen.received
    assert not list(tmp_path.iterdir())


def test_it_takes_another_size_while_it_runs(leaked: GoProcess):
    with on_screen("-p", str(leaked.pid), "--interval", "200ms", width=80) as screen:
        screen.until("main.askCarrier")
        assert b"created by" not in screen.received
        screen.resize(160, 40)
        screen.until("created by")


def test_without_colours_there_are_none(leaked: GoProcess):
    with on_screen("-p", str(leaked.pid), "--interval", "200ms", NO_COLOR="1") as screen:
        screen.until("main.askCarrier")
        screen.press("q")
        screen.end()
    colours = re.findall(rb"\x1b\[([0-9;]*)m", screen.received)
    codes = {code for colour in colours for code in colour.split(b";") if code}
    assert not codes & {b"31", b"32", b"33", b"34", b"35", b"36"}, codes
    assert not any(b"38;" in colour or b"48;" in colour for colour in colours), set(colours)


@pytest.mark.parametrize("how", ["\x03", signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_restored(leaked: GoProcess, how: str | signal.Signals):
    with on_screen("-p", str(leaked.pid), "--interval", "200ms") as screen:
        screen.until("main.askCarrier")
        assert ENTERS in screen.received
        if isinstance(how, str):
            screen.press(how)
        else:
            screen.process.send_signal(how)
        assert screen.end() == 0
        assert screen.received.rindex(LEAVES) > screen.received.rindex(ENTERS)
    assert leaked.is_alive()


def test_it_ends_when_the_terminal_is_lost(leaked: GoProcess):
    with on_screen("-p", str(leaked.pid), "--interval", "200ms") as screen:
        screen.until("main.askCarrier")
        screen.hang_up()
        assert screen.process.wait(20) == 128 + signal.SIGHUP
    assert leaked.is_alive()


def test_the_end_of_the_process_leaves_its_last_picture():
    with start("leak") as leak, on_screen("-p", str(leak.pid), "--interval", "200ms") as screen:
        screen.until("main.pack")
        leak.kill()
        screen.until("ENDED")
        screen.press("\r")
        screen.until("goroutine state")
        screen.press("q")
        assert screen.end() == 0


@pytest.mark.slow
def test_it_is_not_stopped_by_a_busy_machine(leaked: GoProcess):
    with spinning(os.cpu_count() or 1):
        shown = piped("top", "-p", str(leaked.pid), "--json", "--count", "4", "--interval", "200ms")
    assert len(shown.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no target given"),
        (["-p", "1", "--interval", "1ms"], "must be at least 100ms"),
        (["-p", "1", "--group", "colour"], "is not one of"),
        (["-p", "1", "--filter", "("], "is not a regular expression"),
        (["x.json", "--follow-name", "y"], "--follow-name requires a process"),
    ],
)
def test_wrong_usage_is_reported(arguments: list[str], words: str):
    shown = piped("top", *arguments)
    assert shown.returncode == 2
    assert words in shown.stderr


def test_what_is_not_there_is_reported_on_one_line(tmp_path: Path):
    for arguments in (["-p", "4194303"], [str(tmp_path)], ["--follow-name", "no-such-program"]):
        shown = piped("top", *arguments, "--count", "1")
        assert shown.returncode == 1
        assert len(shown.stderr.splitlines()) == 1


@pytest.mark.slow
def test_hours_of_ticks_need_no_more_memory_than_some_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a program whose goroutines come and go; what is kept of its stacks is made anew every 15 ticks or
    so, instead of every hour. The program leaves the processors to who looks at it, or a tick takes a quarter of a second."""
    monkeypatch.setattr(inspector, "_MAX_KNOWN", 1 << 12)
    monkeypatch.setattr(cpu_use, "_MIN_SAMPLING_NS", 0)  # or it takes half a minute longer

    def memory_of_ticks(pid: int) -> list[int]:
        ticks, models, used = LiveTicks(None), [Model("function"), Model("stack")], []
        ticks.attach(pid)
        for number in range(300):
            tick = ticks.take(True)
            for model in models:
                model.note(tick)
            if number % 5 == 4:
                used.append(memory_in_use())
        return used

    with GoProcess(["nice", "-n", "10", build("churn"), "-alive", "100"]) as process:
        used = in_child(lambda: memory_of_ticks(process.pid))
    # What is kept grows and is dropped again, by 2 MB or so: medians, not two moments. The history that is
    # shown takes 0.9 MB more; if stacks were kept for ever, it would be 6 MB.
    assert median(used[-20:]) - median(used[:20]) < 2e6, used
