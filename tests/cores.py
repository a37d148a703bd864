"""Core files of real programs: the kernel's, gcore's, and those of an emulator for arm64."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures import fetch as _fetch
from spyglass.binary.corenotes import Note, pack_notes
from spyglass.binary.elf import PROGRAM_HEADER
from spyglass.cores.writer import pwrite, write_headers
from tests.support import Flavour, GoProcess, build, had, missing

__all__ = [
    "Emulated",
    "aborted_core",
    "busiest_thread",
    "emulated",
    "gcore",
    "needs_kernel_cores",
    "unlimited",
    "write_core",
]

_PATTERN = Path("/proc/sys/kernel/core_pattern")
_LIBC = ctypes.CDLL(None, use_errno=True)
_MEASURED_SECONDS = 0.3
_EMULATED_TRIES = 3


def _kernel_writes_elsewhere() -> bool:
    """Whether the kernel gives cores to a program, or puts them into another directory."""
    return _PATTERN.read_text().startswith(("|", "/"))


needs_kernel_cores = pytest.mark.skipif(
    _kernel_writes_elsewhere(), reason="the kernel does not write cores into the working directory"
)


def write_core(
    stream: BinaryIO,
    arch: str,
    notes: Sequence[Note],
    addresses: NDArray[np.uint64],
    content: NDArray[np.uint8],
    *,
    headers_behind: bool = False,
) -> None:
    """Write a core that has the pages `content`, a row for each of `addresses`, which ascend."""
    count, page_bytes = content.shape
    room = 256 + (count + 1) * PROGRAM_HEADER.itemsize + len(pack_notes(notes))
    begin = page_bytes if headers_behind else -(-room // page_bytes) * page_bytes
    offsets = begin + np.arange(count) * page_bytes
    with tempfile.TemporaryFile() as file:
        pwrite(file.fileno(), content.tobytes(), begin)
        write_headers(file.fileno(), arch, notes, (addresses, offsets), page_bytes)
        shutil.copyfileobj(file, stream)


def unlimited(command: Sequence[str | Path]) -> list[str | Path]:
    """`command`, allowed to leave a core behind."""
    return ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *command]


@dataclass(frozen=True)
class Emulated:
    """A core that a program for arm64 left when it was aborted, what it had said of itself before (`Truth`
    or the like, None if it was not asked), and what it printed."""

    core: Path
    truth: Any
    printed: str


def emulated(
    program: str,
    minor: str,
    folder: Path,
    *arguments: str,
    ask: Callable[[GoProcess], object] | None = GoProcess.truth,
) -> Emulated:
    """Abort a fixture program for arm64 under the emulator, which leaves a core in `folder`.

    Now and then one does not end of it under the emulator: then another one is started.
    """
    emulator = had(
        "qemu-aarch64", lambda: _fetch.fetch_program(_fetch.find_program("qemu-aarch64"))
    )
    command = unlimited([emulator, build(program, minor, Flavour.ARM64), *arguments])
    for attempt in range(_EMULATED_TRIES):
        own = folder / str(attempt)
        own.mkdir()
        with GoProcess(command, cwd=own, env={"GOTRACEBACK": "crash"}) as process:
            truth = ask(process) if ask is not None else None
            try:
                core = aborted_core(process, own, busiest_thread(process))
            except subprocess.TimeoutExpired:
                process.kill()
                continue
            return Emulated(core, truth, process.stderr)
    raise AssertionError(f"the emulator wrote no core in {_EMULATED_TRIES} tries")


def aborted_core(process: GoProcess, folder: Path, tid: int | None = None) -> Path:
    """End `process` with SIGABRT, to thread `tid` if given; the core that it leaves in `folder`.

    The emulator's own core (of the machine that it runs on) is not what is meant.
    """
    _LIBC.tgkill(process.pid, tid or process.pid, signal.SIGABRT)
    process.wait()
    found = sorted(folder.glob("qemu_*.core")) or sorted(folder.glob("core*"))
    assert len(found) == 1, (found, process.stderr[-2000:])
    return found[0]


def busiest_thread(process: GoProcess) -> int:
    """The thread that uses most time of a processor now."""
    before = _ticks(process.pid)
    time.sleep(_MEASURED_SECONDS)
    after = _ticks(process.pid)
    return max(before.keys() & after.keys(), key=lambda tid: after[tid] - before[tid])


def _ticks(pid: int) -> dict[int, int]:
    stats = {task: (task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()}
    return {int(task.name): int(s.rpartition(")")[2].split()[11]) for task, s in stats.items()}


def gcore(pid: int, folder: Path) -> Path:
    """A core of a process that goes on, as gdb makes it."""
    command = shutil.which("gcore")
    if command is None:
        missing("no gcore (package gdb)")
    done = subprocess.run(
        [command, "-o", folder / "core", str(pid)], capture_output=True, text=True, check=False,
        env={**os.environ, "DEBUGINFOD_URLS": ""},
    )  # fmt: skip
    path = folder / f"core.{pid}"
    assert path.exists(), done.stderr
    return path
