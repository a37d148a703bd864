"""Limits of control groups that the kernel enforces."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import GoProcess
from tests.vm.guest.machine import newest, spyglass, started

Note = Callable[[str, object], None]

_LIMIT = 256 << 20
_ROOT = Path("/sys/fs/cgroup")


def _is_version_1() -> bool:
    return "spyglass.cgroup=1" in Path("/proc/cmdline").read_text()


@pytest.fixture(scope="module", autouse=True)
def _mounted() -> None:
    if _is_version_1():
        subprocess.run(["mount", "-t", "tmpfs", "cgroup", _ROOT], check=True)
        for name in ("memory", "cpu", "freezer"):
            (_ROOT / name).mkdir()
            subprocess.run(["mount", "-t", "cgroup", "-o", name, name, _ROOT / name], check=True)
    else:
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", _ROOT], check=True)
        (_ROOT / "cgroup.subtree_control").write_text("+memory +cpu")


@contextmanager
def _group(name: str) -> Iterator[Path]:
    """A control group with a limit of `_LIMIT` in one that has none."""
    if _is_version_1():
        folder, limit = _ROOT / "memory" / name, "memory.limit_in_bytes"
    else:
        folder, limit = _ROOT / name, "memory.max"
    folder.mkdir()
    (folder / limit).write_text(str(_LIMIT))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a control group, whose processes take a moment to end."""
    for _ in range(50):
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)


def _enter(folder: Path, process: GoProcess) -> None:
    (folder / "cgroup.procs").write_text(str(process.pid))


def test_the_limit_is_shown(record_property: Note) -> None:
    with _group("limited") as folder, started("truth", newest()) as process:
        _enter(folder, process)
        text = spyglass("memory", "--pid", process.pid)
    assert "256.0 MiB" in text, text
    record_property("note", next(line for line in text.splitlines() if "256.0 MiB" in line).strip())


def test_a_kill_in_the_group_is_told(record_property: Note) -> None:
    """Another process of the group is killed for its memory; the Go program lives and says so."""
    with _group("killed") as folder, started("truth", newest()) as process:
        _enter(folder, process)
        eater = (
            "import os\nopen('/dev/null')\nb=[]\nwhile True: b.append(bytearray(os.urandom(1<<20)))"
        )
        child = subprocess.Popen(
            ["python3", "-c", f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
             "open('/proc/self/oom_score_adj', 'w').write('1000')\n" + eater],
        )  # fmt: skip
        assert child.wait(200) == -9
        text = spyglass("memory", "--pid", process.pid)
        document = json.loads(spyglass("memory", "--pid", process.pid, "--json"))
    assert "killed" in text or "OOM" in text, text
    record_property("note", json.dumps(document.get("oom", document.get("limits", [{}])[0]))[:300])


def test_a_frozen_target_is_read() -> None:
    with _frozen_group() as (folder, freeze, thaw), started("truth", newest()) as process:
        said = process.truth()
        _enter(folder, process)
        (folder / freeze[0]).write_text(freeze[1])
        try:
            text = spyglass("summary", "--pid", process.pid)
        finally:
            (folder / thaw[0]).write_text(thaw[1])
        assert f"goroutines {said.num_goroutine:,}" in " ".join(text.split())


@contextmanager
def _frozen_group() -> Iterator[tuple[Path, tuple[str, str], tuple[str, str]]]:
    if _is_version_1():
        folder = _ROOT / "freezer" / "frozen"
        states = ("freezer.state", "FROZEN"), ("freezer.state", "THAWED")
    else:
        folder, states = _ROOT / "frozen", (("cgroup.freeze", "1"), ("cgroup.freeze", "0"))
    folder.mkdir()
    try:
        yield folder, *states
    finally:
        _remove(folder)
