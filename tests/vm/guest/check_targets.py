"""Targets in a state that the kernel or another program put them in: they are read as others are."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import spyglass as package
from spyglass.model import Snapshot
from tests.agreement import disagreements
from tests.command import SPYGLASS
from tests.support import GoProcess, Truth
from tests.vm.guest.machine import newest, refusal, spyglass, started
from tests.vm.machines import MODULES

Note = Callable[[str, object], None]

_MM = Path("/sys/kernel/mm")
_DEADLINE_SECONDS = 120


def check_reading(pid: int, said: Truth) -> None:
    """Compare process `pid` with what it said of itself."""
    moving = [each.id for each in said.goroutines if each.state == "running"]
    with package.attach(pid) as program:
        assert disagreements(program.snapshot(), said.goroutines, moving) == []


def field(path: str, name: str) -> str:
    """A field of a file of /proc such as /proc/PID/status."""
    lines = Path(path).read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def wait_until(holds: Callable[[], object]) -> bool:
    """Whether `holds` came true."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return bool(held)


@pytest.mark.parametrize(
    "tracer",
    [("strace", "-f", "-o", "/dev/null", "-p"), ("gdb", "-q", "-nx", "-p")],
    ids=lambda each: each[0],
)
def test_a_target_that_is_traced_is_read(tracer: tuple[str, ...], record_property: Note) -> None:
    with started("truth", newest()) as process:
        said = process.truth()
        with traced(process.pid, *tracer):
            check_reading(process.pid, said)
            told = refusal("dump", "--pid", process.pid, "--stop")
        assert "traced" in told, told
        assert process.truth().num_goroutine == said.num_goroutine
    record_property("note", told[:300])


@contextmanager
def traced(pid: int, *command: str) -> Iterator[None]:
    """A process while `command`, with its pid at the end, traces it."""
    tracer = subprocess.Popen(
        [*command, str(pid)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(lambda: field(f"/proc/{pid}/status", "TracerPid") != "0")
        time.sleep(1)  # until it has found the other threads
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        tracer.wait(_DEADLINE_SECONDS)


def test_a_target_that_another_spyglass_stops_is_read() -> None:
    with started("truth", newest()) as process:
        said = process.truth()
        for _ in range(3):
            other = subprocess.Popen(
                [*SPYGLASS, "dump", "--stop", "--pid", str(process.pid)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            while other.poll() is None:
                check_reading(process.pid, said)
            assert other.returncode == 0
        assert process.truth().num_goroutine == said.num_goroutine


def test_a_stopped_target_is_read() -> None:
    with started("truth", newest()) as process:
        said = process.truth()
        os.kill(process.pid, signal.SIGSTOP)
        try:
            check_reading(process.pid, said)
            text = spyglass("summary", "--pid", process.pid)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert f"goroutines {said.num_goroutine:,}" in " ".join(text.split())


def test_a_target_in_a_user_and_pid_namespace_is_read() -> None:
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    with GoProcess([*command, f"/programs/truth-{newest()}"]) as process:
        said = process.truth()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        check_reading(int(children.read_text().split()[0]), said)


def test_a_target_that_reads_through_io_uring_is_read(record_property: Note) -> None:
    with GoProcess([f"/programs/uring-{newest()}", "4"], ready=None) as process:
        if process.read_line(_DEADLINE_SECONDS) != "ready":
            pytest.skip("this kernel allows no io_uring")
        before = int(process.ask("count"))
        with package.attach(process.pid) as program:
            for stop in (False, True) * 3:
                snapshot = program.snapshot(stop=stop, thread_stacks=True)
                check_rings(snapshot)
        after = int(process.ask("count"))
    assert after > before
    workers = [each for each in snapshot.threads if str(each.name).startswith("iou-wrk")]
    assert {each.runs for each in workers} <= {None}
    record_property(
        "note", f"{after - before} reads meanwhile, {len(workers)} threads of the kernel"
    )


def check_rings(snapshot: Snapshot) -> None:
    """Compare the stacks of the four goroutines that read with what they do all the time."""
    stacks = [[frame.function for frame in each.stack or ()] for each in snapshot]
    rings = [stack for stack in stacks if "main.(*ring).run" in stack]
    assert len(rings) == 4, stacks
    for stack in rings:
        assert stack[-1] == "runtime.goexit", stack
        assert stack.count("main.(*ring).run") == 1, stack


def test_memory_in_huge_pages_is_read(record_property: Note) -> None:
    huge = _MM / "transparent_hugepage" / "enabled"
    if not huge.exists():
        pytest.skip("this kernel has no transparent huge pages")
    huge.write_text("always")
    with started("places", newest(), "live", "64") as process:
        assert "goroutines" in spyglass("summary", "--pid", process.pid)
        document = json.loads(spyglass("memory", "--pid", process.pid, "--json"))
        size = field(f"/proc/{process.pid}/smaps_rollup", "AnonHugePages")
    assert document["process"]["pid"] == process.pid
    record_property("note", f"AnonHugePages {size}")


def test_merged_memory_is_read(record_property: Note) -> None:
    """Kernel same-page merging, which a process can ask for as a whole since Linux 6.4 (prctl(2))."""
    set_memory_merge = 67
    if ctypes.CDLL(None).prctl(set_memory_merge, 0, 0, 0, 0) != 0:
        pytest.skip("this kernel cannot merge all of a process's memory (PR_SET_MEMORY_MERGE)")
    script = f"import ctypes, os, sys; ctypes.CDLL(None).prctl({set_memory_merge}, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    for name, value in (("sleep_millisecs", 20), ("pages_to_scan", 5000), ("run", 1)):
        (_MM / "ksm" / name).write_text(str(value))
    command = [sys.executable, "-c", script, f"/programs/truth-{newest()}", "-n", "50"]
    with GoProcess(command) as process:
        said = process.truth()
        count = Path(f"/proc/{process.pid}/ksm_merging_pages")
        merged = wait_until(lambda: int(count.read_text()) > 0)
        check_reading(process.pid, said)
        record_property("note", f"{count.read_text().strip()} pages were merged")
    assert merged


def test_memory_that_is_swapped_out_is_read(record_property: Note) -> None:
    device = _zram()
    subprocess.run(["busybox", "mkswap", device], check=True, capture_output=True)
    subprocess.run(["busybox", "swapon", device], check=True)
    with started("truth", newest(), "-n", "50") as process:
        said = process.truth()
        _page_out(process.pid)
        swapped = field(f"/proc/{process.pid}/status", "VmSwap")
        check_reading(process.pid, said)
    record_property("note", f"{swapped} were swapped out")
    assert swapped != "0 kB"


def _zram() -> str:
    """A block device of compressed memory to swap to."""
    for name in MODULES:
        for path in Path("/modules").glob(f"{name}.ko"):
            subprocess.run(["busybox", "insmod", str(path)], check=False, capture_output=True)
    size = Path("/sys/block/zram0/disksize")
    if not size.exists():
        pytest.skip("there is no module zram for this kernel")
    size.write_text("512M")
    return "/dev/zram0"


def _page_out(pid: int) -> None:
    """Have the writable memory of a process swapped out (process_madvise(2), since Linux 5.10)."""
    pidfd_open, process_madvise, pageout = 434, 440, 21
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(pidfd_open, pid, 0)
    kind = ctypes.c_uint64 * 2
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, permissions, *_ = line.split()
        if permissions.startswith("rw"):
            begin, end = (int(part, 16) for part in addresses.split("-"))
            vector = kind(begin, end - begin)
            libc.syscall(
                process_madvise,
                descriptor,
                vector,
                ctypes.c_long(1),
                ctypes.c_long(pageout),
                ctypes.c_long(0),
            )
    os.close(descriptor)
