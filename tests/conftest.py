"""What all tests share: the matrix of Go versions, and whether this machine lets us test at all."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ALL_MINORS, MATRIX, NEWEST, GoProcess, start

_ONLY_WHEN_ASKED_FOR = ("slow", "benchmark")
_COMMANDS = {"slow": "make test-matrix", "benchmark": "make bench", "short": "make test"}
#: What `pytest.fail` raises: tests say so what must never happen, not even once.
_NEVER = r"^Failed"
_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-short",
        action="store_true",
        help="leave out the short tests of the newest Go version, which `make test` runs",
    )


def pytest_configure() -> None:
    """Start children as a user does.

    A shell lets what it starts in the background ignore interrupts, which tests send to children. Without
    compiled files, which some environments forbid, each of some hundred commands compiles all modules.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for circles of objects: what is made here, in each process, stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(params=MATRIX, scope="session")
def minor(request: pytest.FixtureRequest) -> str:
    """A minor version of Go; the test runs for each one that SPYGLASS_GO chooses."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="session")
def truth_process(minor: str) -> Iterator[GoProcess]:
    """The truth program, at rest; shared, so tests only read it."""
    with start("truth", minor) as process:
        yield process


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what runs for the matrix, and leave out what was not asked for with -m."""
    for item in items:
        if "minor" in getattr(item, "fixturenames", ()):
            item.add_marker("go")
            item.add_marker("matrix")
        if item.get_closest_marker("live"):
            again = pytest.mark.flaky(reruns=1, reruns_delay=2, rerun_except=_NEVER)
            item.add_marker(again)
    asked = config.option.markexpr
    unasked = [mark for mark in _ONLY_WHEN_ASKED_FOR if mark not in asked]
    if config.getoption("--without-short"):
        for item in filter(_is_short, items):
            item.add_marker("short")
        unasked.append("short")
    left_out = [item for item in items if any(map(item.get_closest_marker, unasked))]
    config.stash[_LEFT_OUT] = [
        mark for item in left_out for mark in unasked if item.get_closest_marker(mark)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_short(item: pytest.Item) -> bool:
    """Whether `make test` runs it, for the newest Go version, and `make test-matrix` would again."""
    callspec = getattr(item, "callspec", None)
    of_newest = callspec is not None and NEWEST in callspec.params.values()
    return of_newest and not any(map(item.get_closest_marker, _ONLY_WHEN_ASKED_FOR))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells the process that reports what it left out."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left out"] = session.config.stash.get(_LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All workers leave out the same."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left out", [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in one line what did not run, and how to run it; show what failed once and then passed."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed, and ran again: {report.nodeid}")
        terminalreporter.write_line(str(report.longrepr))
    skipped = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    line = what_did_not_run(skipped, config.stash.get(_LEFT_OUT, []), MATRIX)
    if line:
        terminalreporter.write_line(line)


def what_did_not_run(skipped: list[str], left_out: list[str], minors: list[str]) -> str:
    """One line; empty if everything ran. `skipped`: the reasons of tests that were skipped; `left_out`:
    a mark of each test that was not chosen; `minors`: the Go versions that were."""
    parts = []
    if skipped:
        reasons = Counter(reason.removeprefix("Skipped: ").splitlines()[0] for reason in skipped)
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        parts.append(f"skipped {len(skipped)}: {listed}")
    for mark, count in sorted(Counter(left_out).items()):
        parts.append(f"left out {count} {mark}: {_COMMANDS[mark]}")
    if missing := [minor for minor in ALL_MINORS if minor not in minors]:
        parts.append(f"left out Go {', '.join(missing)}: make test-matrix")
    return "; ".join(parts)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop at once where no test of a live process can work, instead of failing each one."""
    if session.config.option.collectonly:
        return
    if any(item.get_closest_marker("live") for item in session.items):
        reason = _why_memory_of_children_cannot_be_read()
        if reason:
            pytest.exit(f"live tests cannot run here: {reason}", returncode=3)


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


def _why_memory_of_children_cannot_be_read() -> str | None:
    """Try process_vm_readv(2) on a child of ours; None if it works."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            first_mapping = Path(f"/proc/{child.pid}/maps").read_text().split("-", 1)[0]
            return _read_one_byte(child.pid, int(first_mapping, 16))
        except OSError as error:
            return str(error)
        finally:
            child.kill()


def _read_one_byte(pid: int, address: int) -> str | None:
    buffer = ctypes.create_string_buffer(1)
    local = _IoVec(ctypes.cast(buffer, ctypes.c_void_p), 1)
    remote = _IoVec(address, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) == 1:
        return None
    return (
        f"process_vm_readv: {os.strerror(ctypes.get_errno())} (ptrace not allowed: Yama, seccomp?)"
    )
