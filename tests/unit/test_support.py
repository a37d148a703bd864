from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from fixtures import fetch
from tests.conftest import what_did_not_run
from tests.support import ALL_MINORS, NEWEST, GoProcess


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_process_is_ended_and_reaped_when_the_test_fails() -> None:
    process = GoProcess(["sh", "-c", "echo ready; cat"])
    with pytest.raises(ZeroDivisionError), process:
        _ = 1 // 0
    assert _is_gone(process.pid)


def test_a_process_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.END_TIMEOUT_SECONDS", 0.2)
    with GoProcess(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]) as process:
        pass
    assert _is_gone(process.pid)


def test_a_process_that_ends_early_is_told_with_its_complaint() -> None:
    with (
        pytest.raises(EOFError, match="no such luck"),
        GoProcess(["sh", "-c", "echo no such luck >&2"]),
    ):
        pass


def test_a_process_that_says_nothing_is_not_waited_for_forever() -> None:
    with GoProcess(["cat"], ready=None) as process, pytest.raises(TimeoutError):
        process.read_line(0.05)


def test_a_folder_is_filled_once_by_many(tmp_path: Path) -> None:
    fills: list[Path] = []

    def fill(folder: Path) -> None:
        fills.append(folder)
        time.sleep(0.05)  # long enough for the others to come
        (folder / "file").write_text("x")

    threads = [
        threading.Thread(target=fetch._once, args=(tmp_path / "cache" / "folder", "file", fill))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fills) == 1
    assert (tmp_path / "cache" / "folder" / "file").read_text() == "x"


def test_a_folder_that_cannot_be_filled_does_not_appear(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise fetch.FetchError("offline")

    with pytest.raises(fetch.FetchError):
        fetch._once(tmp_path / "folder", "file", fill)
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []


def test_what_is_not_listed_cannot_be_had() -> None:
    with pytest.raises(fetch.FetchError, match=r"no toolchain 1\.3"):
        fetch.find_toolchain("1.3")
    with pytest.raises(fetch.FetchError, match="no program vi"):
        fetch.find_program("vi")
    assert fetch.find_toolchain("go1.15").version == "1.15.15"


def test_one_line_says_what_did_not_run_and_how_to_run_it() -> None:
    assert what_did_not_run([], [], ALL_MINORS) == ""
    skipped = [
        "Skipped: needs a memory controller (cgroup v1)",
        "Skipped: no gdb",
        "Skipped: no gdb",
    ]
    said = what_did_not_run(skipped, ["slow", "benchmark", "slow"], [NEWEST])
    assert said == (
        "skipped 3: no gdb (2); needs a memory controller (cgroup v1) (1); "
        "left out 1 benchmark: make bench; left out 2 slow: make test-matrix; "
        f"left out Go {', '.join(ALL_MINORS[:-1])}: make test-matrix"
    )
