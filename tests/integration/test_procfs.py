from __future__ import annotations

import ctypes
import mmap
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from spyglass import procfs
from spyglass.errors import PermissionDenied, ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.procfs import ThreadState, host_processes
from spyglass.procfs.namespaces import user_namespace_owner
from spyglass.procfs.process_facts import MAX_COMMAND_LINE_BYTES
from spyglass.procfs.system_calls import SystemCall, system_call, wait_channel
from tests.children import (
    CAP_SYS_PTRACE,
    NOBODY,
    PR_SET_NAME,
    become,
    drop_capability,
    forked,
    in_child,
    needs_root,
    prctl,
    sleeping,
    unshare_mounts_and_hide_processes,
    wait_until,
)

pytestmark = pytest.mark.live

T = TypeVar("T")

#: Runs itself anew, with the same arguments and environment, for each line that it is sent.
RUNS_ITSELF = 'echo ready; read line; exec sh "$0"'


#: All that is read of one process.
EVERYTHING: tuple[Callable[[int], object], ...] = (
    procfs.comm,
    procfs.command_line,
    procfs.container,
    procfs.executable,
    procfs.maps,
    procfs.memory_limit_bytes,
    procfs.cpu_quota,
    procfs.owner,
    procfs.processors,
    procfs.read_cpu,
    procfs.rss_bytes,
    procfs.start_time,
    procfs.started_at,
    procfs.thread_count,
    procfs.threads,
    procfs.uptime_seconds,
    host_processes.descendants,
)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_bytes().decode(errors="backslashreplace")[:-1]


@contextmanager
def zombie() -> Iterator[int]:
    """The pid of a child that has ended and is waited for only in the end."""
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        yield child.pid


# Identity


def test_a_process_keeps_its_identity_while_it_runs() -> None:
    with sleeping() as child, procfs.open_process(child.pid) as identity:
        identity.check()
        child.send_signal(signal.SIGSTOP)
        identity.check()
        assert identity.pid == child.pid
        assert identity.start_ticks == procfs.start_time(child.pid)


def test_start_time_is_in_ticks_since_boot() -> None:
    with sleeping() as child:
        started = procfs.start_time(child.pid) / os.sysconf("SC_CLK_TCK")
        assert time.clock_gettime(time.CLOCK_BOOTTIME) - started == pytest.approx(0, abs=5)


def test_an_end_is_noticed_before_and_after_the_parent_notices_it() -> None:
    with sleeping() as child, procfs.open_process(child.pid) as identity:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessChanged, match="ended"):
            identity.check()
        child.wait()
        with pytest.raises(ProcessChanged, match="ended"):
            identity.check()


def test_an_exec_is_noticed() -> None:
    with (
        sleeping("sh", "-c", "read line; exec sleep 600", stdin=subprocess.PIPE) as child,
        procfs.open_process(child.pid) as identity,
    ):
        identity.check()
        assert child.stdin
        child.stdin.write(b"\n")
        child.stdin.flush()
        wait_until(lambda: name_of(child.pid) == "sleep")
        assert identity.start_ticks == procfs.start_time(child.pid)
        with pytest.raises(ProcessChanged, match="exec"):
            identity.check()


def test_an_exec_of_the_same_program_at_the_same_addresses_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "again.sh"
    script.write_text(RUNS_ITSELF)
    command = ("setarch", "-R", "sh", str(script))
    with sleeping(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        # The first run has another environment ($_), the second and third are alike.
        for _ in range(2):
            assert child.stdout.readline() == b"ready\n"
            child.stdin.write(b"\n")
            child.stdin.flush()
        assert child.stdout.readline() == b"ready\n"
        before = Path(f"/proc/{child.pid}/maps").read_text()
        with procfs.open_process(child.pid) as identity:
            identity.check()
            child.stdin.write(b"\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"ready\n"
            assert Path(f"/proc/{child.pid}/maps").read_text() == before
            with pytest.raises(ProcessChanged, match="exec"):
                identity.check()


#: In a pid namespace of its own, where pids can be chosen without disturbing others.
GIVES_A_PID_TO_ANOTHER = """
import subprocess, sys, time
from spyglass import procfs
from spyglass.errors import ProcessChanged
first = subprocess.Popen(["sleep", "600"])
identity = procfs.open_process(first.pid)
first.kill()
first.wait()
time.sleep(0.05)
for _ in range(100):
    open("/proc/sys/kernel/ns_last_pid", "w").write(str(first.pid - 1))
    second = subprocess.Popen(["sleep", "600"])
    if second.pid == first.pid:
        break
    second.kill()
    second.wait()
try:
    identity.check()
except ProcessChanged as error:
    print(error.message)
finally:
    second.kill()
"""


def in_namespaces(*options: str) -> list[str]:
    """A command that runs another in namespaces of its own; skips where that is not allowed."""
    command = ["unshare", *options]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {tried.stderr.strip()}")
    return command


def printed(command: list[str], script: str, *arguments: object) -> str:
    """What a Python script prints when `command` runs it."""
    return subprocess.run(
        [*command, sys.executable, "-c", script, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()


@needs_root
def test_a_pid_that_was_given_to_another_process_is_noticed() -> None:
    command = in_namespaces("--pid", "--fork", "--mount-proc", "--kill-child")
    assert printed(command, GIVES_A_PID_TO_ANOTHER).endswith(
        "ended, and its pid was given to another process"
    )


@needs_root
def test_a_proc_of_another_pid_namespace_is_refused() -> None:
    command = in_namespaces("--pid", "--fork", "--kill-child")
    script = "from spyglass import procfs; procfs.open_process(1)"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        printed(command, script)
    assert "another pid namespace" in failed.value.stderr


# What cannot be inspected


def test_there_is_no_such_process() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    with pytest.raises(ProcessNotFound, match=f"there is no process {child.pid}"):
        procfs.open_process(child.pid)
    for look in EVERYTHING:
        with pytest.raises(ProcessNotFound):
            look(child.pid)


@pytest.mark.parametrize("pid", [0, -1, 1 << 22, 1 << 70])
def test_a_number_that_is_no_pid_is_not_found(pid: int) -> None:
    with pytest.raises(ProcessNotFound):
        procfs.open_process(pid)


def test_a_zombie_is_told_with_its_parent() -> None:
    with zombie() as pid, pytest.raises(ProcessNotFound, match="zombie") as error:
        procfs.open_process(pid)
    assert f"process {os.getpid()}" in (error.value.hint or "")


def test_a_kernel_thread_is_told() -> None:
    try:
        is_kernel_thread = name_of(2) == "kthreadd"
    except FileNotFoundError:
        is_kernel_thread = False
    if not is_kernel_thread:
        pytest.skip("no kernel threads are visible in this pid namespace")
    with pytest.raises(ProcessNotFound, match="kernel thread"):
        procfs.open_process(2)


def test_a_mere_thread_is_told_with_its_process() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id
        with pytest.raises(ProcessNotFound, match=f"thread of process {os.getpid()}"):
            procfs.open_process(thread.native_id)
    finally:
        done.set()
        thread.join()


def test_a_process_whose_main_thread_has_ended_is_told() -> None:
    script = """if True:
        import ctypes, threading, time
        threading.Thread(target=time.sleep, args=(600,)).start()
        ctypes.CDLL(None).pthread_exit(None)"""
    with sleeping(sys.executable, "-c", script) as child:
        wait_until(lambda: procfs.threads(child.pid)[0].os_state == "zombie")
        with pytest.raises(ProcessNotFound, match="main thread"):
            procfs.open_process(child.pid)


# Permission


def look(pid: int) -> str:
    with procfs.open_process(pid) as identity:
        identity.check()
    return procfs.comm(pid)


def become_and(ask: Callable[[int], T], pid: int) -> T:
    become()
    return ask(pid)


@needs_root
def test_another_user_is_named() -> None:
    with sleeping() as child:
        with pytest.raises(PermissionDenied) as error:
            in_child(lambda: become_and(look, child.pid))
        owner = in_child(lambda: become_and(procfs.owner, child.pid))
        executable = in_child(lambda: become_and(procfs.executable, child.pid))
    assert error.value.message == (
        f"process {child.pid} (sleep) cannot be read: it runs as root, and spyglass as nobody"
    )
    assert error.value.hint == "run spyglass with sudo"
    assert (owner, executable) == ("root", (None, False))


def test_root_is_not_demanded_where_the_kernel_allows_it() -> None:
    with forked(become) as pid:
        assert in_child(lambda: become_and(look, pid)) == name_of(pid)


def test_a_protected_process_is_told() -> None:
    with (
        forked(lambda: become(dumpable=False)) as pid,
        pytest.raises(PermissionDenied, match="protected") as error,
    ):
        in_child(lambda: become_and(look, pid))
    assert error.value.hint == "run spyglass with sudo"


@needs_root
@pytest.mark.parametrize(
    ("uid", "reason"),
    [(0, "it has capabilities that"), (NOBODY, "it runs as nobody, and spyglass as root without")],
)
def test_root_without_the_capability_is_told_to_get_it(uid: int, reason: str) -> None:
    def look_without() -> str:
        drop_capability(CAP_SYS_PTRACE)
        return look(pid)

    with forked(lambda: become(uid)) as pid:
        with pytest.raises(PermissionDenied, match=reason) as error:
            in_child(look_without)
        assert look(pid)
    assert "--cap-add SYS_PTRACE" in (error.value.hint or "")


@needs_root
def test_the_owner_of_a_user_namespace_is_who_made_it() -> None:
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    inside = in_namespaces("--user", "--map-root-user")
    if subprocess.run([*as_nobody, *inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may make user namespaces here")
    with (
        sleeping() as ours,
        sleeping(*inside, "sleep", "600") as of_root,
        sleeping(*as_nobody, *inside, "sleep", "600") as of_nobody,
    ):
        for child in (of_root, of_nobody):
            wait_until(partial(_sleeps, child.pid))
        owners = [user_namespace_owner(child.pid) for child in (ours, of_root, of_nobody)]
    assert owners == [None, 0, NOBODY]


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


@needs_root
def test_the_root_of_a_user_namespace_is_not_the_root_of_the_host() -> None:
    command = in_namespaces("--user", "--map-root-user")
    script = """if True:
        import sys
        from spyglass import procfs
        from spyglass.errors import PermissionDenied
        try:
            procfs.open_process(int(sys.argv[1]))
        except PermissionDenied as error:
            print(error.message)"""
    with sleeping() as child:
        assert printed(command, script, child.pid).endswith("it is in another user namespace")


@needs_root
def test_a_process_in_another_user_and_pid_namespace_is_read() -> None:
    command = in_namespaces("--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    with sleeping(*command, "sleep", "600") as parent:
        wait_until(
            lambda: [name_of(p) for p in host_processes.descendants(parent.pid)] == ["sleep"]
        )
        (pid,) = host_processes.descendants(parent.pid)
        assert look(pid) == "sleep"
        assert procfs.command_line(pid) == ("sleep", "600")


@needs_root
def test_a_hidden_process_is_told_from_none() -> None:
    def look_in_the_dark(pid: int) -> str:
        unshare_mounts_and_hide_processes()
        return become_and(look, pid)

    try:
        in_child(unshare_mounts_and_hide_processes)
    except OSError as error:
        pytest.skip(f"no /proc can be mounted here: {error}")
    with sleeping() as child, pytest.raises(PermissionDenied, match="hidepid"):
        in_child(lambda: look_in_the_dark(child.pid))
    with pytest.raises(ProcessNotFound):
        in_child(lambda: look_in_the_dark(child.pid))


@needs_root
def test_the_memory_of_a_process_is_explained_too() -> None:
    with sleeping() as child:
        error = in_child(lambda: become_and(procfs.explain_denied, child.pid))
    assert "it runs as root" in error.message


# Facts


def test_facts_are_what_the_kernels_files_say() -> None:
    before = time.time()
    with sleeping("sleep", "600", cwd="/") as child:
        wait_until(lambda: is_asleep(child.pid))  # it grows while it is loaded
        after = time.time()
        proc = Path(f"/proc/{child.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
        assert procfs.comm(child.pid) == (proc / "comm").read_text().strip() == "sleep"
        assert procfs.executable(child.pid) == (os.readlink(proc / "exe"), False)
        assert procfs.command_line(child.pid) == ("sleep", "600")
        assert procfs.owner(child.pid) == pwd.getpwuid(os.geteuid()).pw_name
        assert procfs.thread_count(child.pid) == int(status["Threads"]) == 1
        resident = int(status["VmRSS"].split()[0]) * 1024
        assert procfs.rss_bytes(child.pid) == pytest.approx(resident, rel=0.3)
        started = procfs.started_at(child.pid).timestamp()
        assert before - 1.1 <= started <= after
        assert 0 <= procfs.uptime_seconds(child.pid) <= time.time() - before + 0.1


def is_asleep(pid: int) -> bool:
    return name_of(pid) == "sleep" and procfs.threads(pid)[0].os_state == "sleeping"


def test_a_start_is_the_same_moment_at_every_reading() -> None:
    with sleeping() as child:
        (moment,) = {procfs.started_at(child.pid) for _ in range(1000)}
        btime = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
        ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
        expected = btime + ticks / os.sysconf("SC_CLK_TCK")
        assert moment.timestamp() == pytest.approx(expected, abs=1e-5)


def test_processor_time_is_what_the_child_says() -> None:
    script = """if True:
        import os, time
        while time.process_time() < 0.5:
            pass
        print(*os.times()[:2], flush=True)
        time.sleep(600)"""
    with sleeping(sys.executable, "-c", script, stdout=subprocess.PIPE) as child:
        assert child.stdout
        user, system = map(float, child.stdout.readline().split())
        assert procfs.read_cpu(child.pid).process_ns / 1e9 == pytest.approx(user + system, abs=0.05)


def test_the_system_call_of_a_thread_and_where_it_waits() -> None:
    reader, writer = os.pipe()
    thread = threading.Thread(target=os.read, args=(reader, 1))
    thread.start()
    try:
        tid = thread.native_id
        assert tid is not None
        wait_until(lambda: system_call(os.getpid(), tid) == SystemCall("read", reader))
        channel = wait_channel(os.getpid(), tid)
        assert channel is None or "read" in channel
    finally:
        os.write(writer, b"x")
        thread.join()
        os.close(reader)
        os.close(writer)
    assert system_call(os.getpid(), tid) is None  # it has ended
    assert wait_channel(os.getpid(), tid) is None


def test_how_long_threads_that_could_run_waited_for_a_processor() -> None:
    """Three threads that want one processor, of which two wait while the other runs."""
    command = [sys.executable, "-c", SPINNERS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            before = procfs.read_cpu(child.pid)
            wait_until(lambda: procfs.read_cpu(child.pid).at_ns > before.at_ns + 400_000_000)
            after = procfs.read_cpu(child.pid)
        finally:
            child.kill()
    delayed, used = after.delay_since(before), after.process_ns - before.process_ns
    if not os.path.exists("/proc/self/schedstat"):
        assert delayed is None
        return
    assert delayed is not None
    # Three threads want the whole time, but for what the kernel had not yet added up.
    assert 2.2 * (after.at_ns - before.at_ns) < delayed + used < 3.3 * (after.at_ns - before.at_ns)
    assert after.delay_since(procfs.CpuReading(0, 0)) is None


#: Three threads that hash, for which Python does not hold its lock, on one processor.
SPINNERS = """
import hashlib, os, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def spin():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
for _ in range(3):
    threading.Thread(target=spin, daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""


def become_and_be_called(name: bytes) -> None:
    become()
    prctl(PR_SET_NAME, name)


def test_a_process_cannot_forge_its_user_and_threads_by_its_name() -> None:
    """In /proc/PID/status the name comes first, and a tab in it stays one."""
    for name in (b"Uid:\t0\t0\t0", b"Threads:\t7777"):
        with forked(partial(become_and_be_called, name)) as pid:
            assert procfs.comm(pid) == name.decode()
            if os.geteuid() == 0:
                assert procfs.owner(pid) == "nobody"
            assert procfs.thread_count(pid) == 1


def test_a_deleted_executable_is_told(tmp_path: Path) -> None:
    program = tmp_path / "gone for good"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with sleeping(program, "600") as child:
        assert procfs.executable(child.pid) == (str(program), False)
        program.unlink()
        assert procfs.executable(child.pid) == (str(program), True)


def test_arguments_are_kept_as_they_are() -> None:
    arguments = ["", "a b", "two\nlines", "\x1b[31m", os.fsdecode(b"\xff"), "", ""]
    with sleeping("sh", "-c", "read line", *arguments, stdin=subprocess.PIPE) as child:
        arguments[4] = "\\xff"
        assert procfs.command_line(child.pid) == ("sh", "-c", "read line", *arguments)


def test_an_endless_command_line_is_cut() -> None:
    long = ["x" * 100_000] * 12
    with sleeping("sh", "-c", "read line", *long, stdin=subprocess.PIPE) as child:
        line = procfs.command_line(child.pid)
    assert sum(len(argument) + 1 for argument in line) == MAX_COMMAND_LINE_BYTES + 1


@pytest.mark.parametrize("name", [b") R 1 1 (", b"two\nlines", b"\x1b[31mred", b"\xff\xfe", b"()"])
def test_a_name_does_not_disturb_the_facts(name: bytes) -> None:
    with forked(lambda: prctl(PR_SET_NAME, name)) as pid:
        shown = name.decode(errors="backslashreplace")
        assert procfs.comm(pid) == shown
        assert procfs.thread_count(pid) == 1
        assert [t.name for t in procfs.threads(pid)] == [shown]
        assert host_processes.descendants(os.getpid()).count(pid) == 1
        look(pid)


# Threads, mappings, families


def test_threads_have_their_names_and_states() -> None:
    script = """if True:
        import ctypes, threading, time
        def named(number):
            ctypes.CDLL(None).prctl(15, b"worker %d" % number, 0, 0, 0)
            time.sleep(600)
        for number in range(50):
            threading.Thread(target=named, args=(number,)).start()"""
    with sleeping(sys.executable, "-c", script) as child:
        wait_until(lambda: any(t.name == "worker 49" for t in procfs.threads(child.pid)))
        wait_until(lambda: {t.os_state for t in procfs.threads(child.pid)} == {"sleeping"})
        found = procfs.threads(child.pid)
        assert [t.tid for t in found] == sorted(t.id for t in psutil.Process(child.pid).threads())
        assert {t.name for t in found} >= {f"worker {number}" for number in range(50)}
        child.send_signal(signal.SIGSTOP)
        wait_until(lambda: {t.os_state for t in procfs.threads(child.pid)} == {"stopped"})
        assert procfs.thread_count(child.pid) == 51


def test_a_busy_process_runs_and_a_zombie_is_one() -> None:
    with sleeping("sh", "-c", "while :; do :; done") as child:
        wait_until(lambda: procfs.threads(child.pid)[0].os_state == "running")
    with zombie() as pid:
        assert procfs.threads(pid)[0].os_state == "zombie"


def test_a_traced_thread_is_told() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    ptrace_attach, ptrace_detach = 16, 17
    with sleeping() as child:
        assert libc.ptrace(ptrace_attach, child.pid, None, None) == 0
        wait_until(lambda: procfs.threads(child.pid)[0].os_state == "tracing stop")
        assert libc.ptrace(ptrace_detach, child.pid, None, None) == 0


def test_threads_that_end_meanwhile_are_left_out() -> None:
    script = """if True:
        import random, threading, time
        def live_shortly():
            while True:
                threading.Thread(target=time.sleep, args=(random.random() / 500,)).start()
                time.sleep(0.0001)
        for _ in range(4):
            threading.Thread(target=live_shortly).start()"""
    with sleeping(sys.executable, "-c", script) as child:
        seen: set[int] = set()

        def many_were_seen() -> bool:
            tids = {thread.tid for thread in procfs.threads(child.pid)}
            assert child.pid in tids
            seen.update(tids)
            return len(seen) > 1000

        wait_until(many_were_seen)


def test_mappings_are_those_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines and  spaces"
    path.write_bytes(b"x" * 8192)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 4096, offset=4096, prot=mmap.PROT_READ):
        (mapping,) = [m for m in procfs.maps(os.getpid()) if m.path == str(path)]
        assert (mapping.offset, mapping.end - mapping.start) == (4096, 4096)
        assert (mapping.permissions, mapping.deleted) == ("r--s", False)
        assert (mapping.device, mapping.inode) == (path.stat().st_dev, path.stat().st_ino)
        path.unlink()
        (mapping,) = [m for m in procfs.maps(os.getpid()) if m.path == str(path)]
        assert mapping.deleted


def test_all_mappings_are_there() -> None:
    with sleeping() as child:
        wait_until(
            lambda: procfs.threads(child.pid) == (ThreadState(child.pid, "sleep", "sleeping"),)
        )
        found = procfs.maps(child.pid)
        expected = psutil.Process(child.pid).memory_maps(grouped=False)
        assert [f"{m.start:08x}-{m.end:08x}" for m in found] == [m.addr for m in expected]
        assert [m.permissions for m in found] == [m.perms for m in expected]
        assert found == sorted(found, key=lambda m: m.start)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_descendants_are_children_first() -> None:
    with sleeping("sh", "-c", "sh -c 'sleep 600 & wait' & wait") as child:
        wait_until(lambda: len(host_processes.descendants(child.pid)) == 2)
        first, second = host_processes.descendants(child.pid)
        assert (parent_of(first), parent_of(second)) == (child.pid, first)
        assert set(host_processes.pids()) >= {child.pid, first, second}
        for pid in (first, second):
            os.kill(pid, signal.SIGKILL)


# Control groups


@contextmanager
def group_of(hierarchy: str, name: str) -> Iterator[Path]:
    """A control group of our own in a hierarchy of this host; skips where that is not allowed."""
    root = Path("/sys/fs/cgroup") / hierarchy
    group = root / name
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def hierarchy_for(version: int) -> str:
    """Where version 1's memory controller, or version 2, is mounted below /sys/fs/cgroup."""
    places = {1: ("memory",), 2: ("", "unified")}[version]
    file = {1: "memory.limit_in_bytes", 2: "cgroup.controllers"}[version]
    for place in places:
        if (Path("/sys/fs/cgroup") / place / file).exists():
            return place
    pytest.skip(f"version {version} of control groups is not mounted here")


@needs_root
@pytest.mark.parametrize("version", [1, 2])
def test_a_container_is_found_by_a_real_group(version: int) -> None:
    id_ = os.urandom(32).hex()
    with group_of(hierarchy_for(version), f"docker-{id_}.scope") as group, sleeping() as child:
        assert procfs.container(child.pid) != id_
        (group / "cgroup.procs").write_text(str(child.pid))
        assert procfs.container(child.pid) == id_


@needs_root
@pytest.mark.parametrize("version", [1, 2])
def test_the_memory_limit_is_the_smallest_of_all_groups_above(version: int) -> None:
    file = {1: "memory.limit_in_bytes", 2: "memory.max"}[version]
    hierarchy = hierarchy_for(version)
    with group_of(hierarchy, f"spyglass-test-{os.getpid()}") as outer:
        if not (outer / file).exists():
            pytest.skip("the memory controller is not in this hierarchy")
        if version == 2:
            (outer / "cgroup.subtree_control").write_text("+memory")
        with group_of(hierarchy, f"{outer.name}/inner") as inner, sleeping() as child:
            (inner / "cgroup.procs").write_text(str(child.pid))
            assert procfs.memory_limit_bytes(child.pid) is None
            (outer / file).write_text(str(64 << 20))
            assert procfs.memory_limit_bytes(child.pid) == 64 << 20
            (inner / file).write_text(str(32 << 20))
            assert procfs.memory_limit_bytes(child.pid) == 32 << 20
            (inner / file).write_text(str(128 << 20))
            assert procfs.memory_limit_bytes(child.pid) == 64 << 20


def test_a_refusal_is_always_one_of_ours() -> None:
    for pid in host_processes.pids():
        for ask in (*EVERYTHING, look):
            with suppress(SpyglassError):
                ask(pid)
