"""The page of `spyglass serve` when something goes wrong, and when names in a program are hostile."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spyglass.errors import BadDataError, PermissionDenied, ProcessChanged
from spyglass.model import Snapshot
from tests.serving import Listening, listening
from tests.snapshots import Row, frame, make_snapshot
from tests.support import NEWEST, Flavour, build, start
from tests.unit.test_report_page import fully_hostile
from tests.unit.test_report_page_data import HOSTILE, SHOWN

if TYPE_CHECKING:
    from tests.browser import Browser

PID = os.getpid()
LONG = "main." + "f" * 100_000


class Program:
    """Stands for an inspector: each snapshot is `snapshot`, or raises it."""

    snapshots: Snapshot | Exception = make_snapshot()

    def __init__(self, _pid: int) -> None:
        pass

    def snapshot(self, *_: object, **__: object) -> Snapshot:
        if isinstance(self.snapshots, Exception):
            raise self.snapshots
        return self.snapshots

    def with_account(self, snapshot: Snapshot) -> Snapshot:
        return snapshot

    def watch(self) -> None: ...
    def check(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> type[Program]:
    """What the server reads in place of a process; it has our pid."""

    class Made(Program): ...

    monkeypatch.setattr("spyglass.serve.pool.attach", Made)
    return Made


@pytest.fixture
def server() -> Iterator[Listening]:
    with listening() as server:
        yield server


@pytest.mark.slow
def test_hostile_names_are_only_ever_text(window: Browser, server: Listening, program: Any) -> None:
    from tests.open_serve import enter, fits, go, has_quiet_console, press, shows

    names = [Row(50 + n, wait_reason=HOSTILE, where=frame(name), stack=(frame(name),), labels={HOSTILE: HOSTILE})
             for n, name in enumerate((HOSTILE, LONG))]  # fmt: skip
    hostile, made = fully_hostile(), make_snapshot(names)
    program.snapshots = replace(
        hostile,
        **{each: getattr(made, each) for each in (
            "goroutines", "frames", "stack_offsets", "stack_frames", "wait_reasons", "label_sets")},
    )  # fmt: skip
    enter(window, server.address, str(PID))
    window.resize(360, 800)
    shows(window, "#live-groups tbody th", SHOWN)
    assert max(map(len, window.texts("#live-groups tbody th"))) < 1000  # sent every second
    assert fits(window)
    press(window, "#live-groups tbody a")
    shows(window, "#group-table .stack .function")
    press(window, "#clear")
    shows(window, "#group-table tbody th .function", LONG)
    assert fits(window)
    go(window, f"{PID}/program")
    shows(window, "#thread-table td", SHOWN)
    shows(window, "#program dd", SHOWN)
    assert fits(window)
    go(window, f"{PID}/waits")
    shows(window, "#view .card")
    assert window.all("img") == []
    assert "\u202e" not in window.run("return document.documentElement.textContent")
    assert window.run("return window.hacked") is None
    assert has_quiet_console(window)


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.go
def test_a_hostile_name_of_a_file_is_only_ever_text(window: Browser, tmp_path: Path) -> None:
    from tests.open_serve import enter, fits, has_quiet_console, shows

    name = "<img src=x onerror=alert(1)>\u202egnp"
    path = tmp_path / name
    path.write_bytes(build("park", NEWEST, Flavour.EXE).read_bytes())
    path.chmod(0o755)
    with (
        subprocess.Popen(
            [path, "-n", "3"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process,
        listening() as server,
    ):
        try:
            enter(window, server.address)
            window.resize(360, 800)
            shows(window, f'.hosts a[href="#/{process.pid}"]', name.replace("\u202e", r"\u202e"))
            assert window.all("img") == []
            assert fits(window)
            assert has_quiet_console(window)
        finally:
            process.kill()


@pytest.mark.slow
def test_what_went_wrong_is_one_line_and_what_was_read_stays(
    window: Browser, server: Listening, program: Any
) -> None:
    from tests.open_serve import enter, go, has_quiet_console, press, shows, until

    program.snapshots = make_snapshot([Row(50, wait_reason="select", where=frame("main.work"))])
    enter(window, server.address, str(PID))
    shows(window, "#live-groups tbody th", "main.work")
    program.snapshots = BadDataError("the structure of goroutines makes no sense")
    shows(window, "#trouble", "the structure of goroutines makes no sense")
    assert "main.work" in window.texts("#live-groups tbody th")[0]
    go(window, f"{PID}/goroutines")
    shows(window, "#view [role=alert]", "the structure of goroutines makes no sense")
    program.snapshots = make_snapshot([Row(50, wait_reason="select", where=frame("main.again"))])
    press(window, "#again")
    shows(window, "#group-table tbody th", "main.again")
    until(lambda: not window.find("#trouble").is_displayed())
    go(window, str(PID))
    program.snapshots = ProcessChanged("process 7 ended while it was read", "run spyglass again")
    shows(
        window,
        "#trouble",
        "process 7 ended while it was read. What is shown is the last that was read.",
    )
    until(lambda: server.service.streams == 0)
    assert has_quiet_console(window, "status of 502")


@pytest.mark.slow
def test_a_refusal_is_told_with_what_to_do(
    window: Browser, server: Listening, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.open_serve import enter, has_quiet_console, press, shows

    def refuse(_pid: int) -> None:
        raise PermissionDenied("perf events are refused", "sysctl kernel.perf_event_paranoid=1")

    monkeypatch.setattr("spyglass.serve.recordings.attach", refuse)
    enter(window, server.address, f"{PID}/profiles")
    press(window, "#profile")
    shows(window, "#jobs", "perf events are refused: sysctl kernel.perf_event_paranoid=1")
    monkeypatch.setattr("spyglass.serve.pool.attach", refuse)
    window.run("location.hash = '#/1'")
    shows(window, "#trouble", "perf events are refused: sysctl kernel.perf_event_paranoid=1")
    assert has_quiet_console(window, "status of 403")


@pytest.mark.slow
def test_a_server_that_comes_back_asks_for_its_token(window: Browser, program: Any) -> None:
    from tests.open_serve import enter, has_quiet_console, press, shows, until

    program.snapshots = make_snapshot([Row(50, wait_reason="select", where=frame("main.work"))])
    with listening() as first:
        enter(window, first.address, str(PID))
        shows(window, "#live-groups tbody th", "main.work")
    until(lambda: window.find("#trouble").is_displayed())
    port, token = int(first.address.split(":")[2].strip("/")), "another-token-0123456789"
    with listening(port, token=token) as second:
        until(lambda: window.find("#token-dialog").is_displayed())
        for text in ("wrong-token-0123456789", token):
            window.find("#token").send_keys(text)
            press(window, "#token-form button")
            if text != token:
                shows(window, "#token-wrong", "the token in the URL is not this server's")
                window.find("#token").clear()
        until(lambda: not window.find("#token-dialog").is_displayed())
        until(lambda: second.service.streams == 1)
        until(lambda: not window.find("#trouble").is_displayed())
        assert token not in window.driver.current_url
    assert has_quiet_console(window, "status of 401", "ERR_")


@pytest.mark.slow
def test_nothing_is_read_for_a_page_that_is_hidden_or_paused(
    window: Browser, server: Listening, program: Any
) -> None:
    from tests.open_serve import enter, press, shows, until

    hide = """Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
              document.dispatchEvent(new Event('visibilitychange'))"""
    enter(window, server.address, str(PID))
    shows(window, ".tiles dt", "Goroutines")
    assert server.service.streams == 1
    window.run(hide, True)
    until(lambda: server.service.streams == 0)
    window.run(hide, False)
    until(lambda: server.service.streams == 1)
    press(window, "#pause")
    until(lambda: server.service.streams == 0)
    assert window.texts("#trouble") == ["Paused."]
    for place in ("", f"{PID}/waits"):  # another view does not begin to read
        window.run("location.hash = arguments[0]", f"#/{place}")
        shows(window, "#title", "" if place else "Go processes")
    assert server.service.streams == 0
    press(window, "#pause")
    until(lambda: server.service.streams == 1)


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.go
def test_a_process_that_ends_is_told(window: Browser, server: Listening) -> None:
    from tests.open_serve import enter, shows

    with start("park", NEWEST, Flavour.EXE, "-n", "3") as process:
        enter(window, server.address, str(process.pid))
        shows(window, "#live-groups tbody th", "main.")
        process.kill()
        process.wait()
        shows(window, "#trouble", "What is shown is the last that was read.")
        assert "main." in "".join(window.texts("#live-groups tbody th"))
