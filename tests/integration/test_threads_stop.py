from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import spyglass
from spyglass import procfs
from spyglass.errors import PermissionDenied, ProcessChanged, ProcessNotFound, TargetError
from spyglass.threads import ptrace, stopped
from tests.children import become, forked, in_child, needs_root, sleeping, wait_until
from tests.running import goroutines_by_tid, spinning
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = pytest.mark.live

HELD, BY_JOB_CONTROL = {"tracing stop"}, {"stopped"}
SPINNING = 2

# nohup(1) makes what it starts ignore SIGHUP, and so would this.
HOLDER = """
import os, signal, sys
from spyglass.threads import stopped
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with stopped(int(sys.argv[1])):
    print("ready", flush=True)
    for line in sys.stdin:
        os.kill(os.getpid(), signal.SIGTSTP)
        print("not suspended", flush=True)
"""

TRACER = """
import sys
from spyglass.threads import ptrace
ptrace.seize(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""

#: Starts and ends threads all the time.
CHURN = """
import sys, threading
def work(depth):
    if depth:
        thread = threading.Thread(target=work, args=(depth - 1,))
        thread.start()
        thread.join()
def forever():
    while True:
        work(3)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
print("alive", flush=True)
"""

#: Waits for a child that shares its memory until it has opened a FIFO (vfork(2)): uninterruptibly.
WAITS_FOR_FIFO = """
import os, sys, threading
files = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]
spawn = lambda: os.posix_spawn("/bin/true", ["true"], {}, file_actions=files)
thread = threading.Thread(target=spawn)
print("ready", flush=True)
thread.start()
thread.join()
print("went on", flush=True)
sys.stdin.read()
"""

#: One of its threads runs another program, which ends the others, on a signal.
RUNS_ANOTHER = """
import os, signal, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def run_another():
    signal.sigwait([signal.SIGUSR1])
    os.execv("/bin/sleep", ["sleep", "600"])
thread = threading.Thread(target=run_another)
thread.start()
print("ready", flush=True)
thread.join()
"""

#: Starts the command that it is given, and tells what it notices of it.
PARENT = """
import os, signal, subprocess, sys
noticed = []
signal.signal(signal.SIGCHLD, lambda *_: noticed.append("SIGCHLD"))
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
kinds = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG
print("ready", child.pid, flush=True)
for line in sys.stdin:
    print(noticed, os.waitid(os.P_PID, child.pid, kinds), flush=True)
"""


def python(text: str, *arguments: object) -> GoProcess:
    return GoProcess([sys.executable, "-c", text, *map(str, arguments)])


@contextmanager
def parent_of(*command: object) -> Iterator[tuple[GoProcess, int]]:
    """A process that tells what it notices of its child, and the pid of that child."""
    with python(PARENT, *command) as parent:
        child = int(parent.ready_line.split()[1])
        handle = os.pidfd_open(child)
        try:
            yield parent, child
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def states(pid: int) -> set[str]:
    return {thread.os_state for thread in procfs.threads(pid)}


def tids(pid: int) -> set[int]:
    return {thread.tid for thread in procfs.threads(pid)}


def is_traced(pid: int) -> bool:
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    return any("\nTracerPid:\t0\n" not in status.read_text() for status in statuses)


def cpu_time_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def assert_runs(pid: int) -> None:
    """The spinning process `pid` gets on, and nobody holds it."""
    wait_until(lambda: not is_traced(pid))
    before = cpu_time_ns(pid)
    wait_until(lambda: cpu_time_ns(pid) > before)


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


# While it is stopped


def test_every_thread_of_a_go_program_stands_still_and_goes_on() -> None:
    arguments = ("-n", "1", "-spin", str(SPINNING))
    with start("truth", NEWEST, Flavour.EXE, *arguments, env={"GOMAXPROCS": "4"}) as process:
        for _ in range(20):
            with stopped(process.pid) as stop:
                assert states(process.pid) == HELD
                assert stop.registers.keys() == tids(process.pid)
                assert stop.left_out == ()
        assert not is_traced(process.pid)
        assert len(process.truth().goroutines) > SPINNING


def test_the_registers_are_those_of_the_moment() -> None:
    def all_spin() -> bool:
        with stopped(process.pid) as stop:
            goroutines = goroutines_by_tid(inspector)
        at = {tid: inspector.runtime.functions.at(stop.registers[tid].pc) for tid in goroutines}
        on_stack = all(
            goroutine.low <= stop.registers[tid].sp < goroutine.high
            and stop.registers[tid].g == goroutine.address
            for tid, goroutine in goroutines.items()
        )
        names = [function.name for function in at.values() if function]
        return on_stack and names == ["main.spin1"] * SPINNING

    arguments = ("-n", "1", "-spin", str(SPINNING))
    with (
        start("truth", NEWEST, Flavour.EXE, *arguments, env={"GOMAXPROCS": "4"}) as process,
        spyglass.attach(process.pid) as inspector,
    ):
        wait_until(all_spin)  # now and then one has been preempted


def test_nothing_runs_meanwhile_and_the_time_is_told() -> None:
    with spinning() as (pid,):
        outside_ns = time.monotonic_ns()
        with stopped(pid) as stop:
            before = cpu_time_ns(pid)
            time.sleep(0.05)
            assert cpu_time_ns(pid) == before
            assert 50_000_000 <= stop.elapsed_ns <= time.monotonic_ns() - outside_ns
        told = stop.elapsed_ns
        assert 50_000_000 <= told <= time.monotonic_ns() - outside_ns
        time.sleep(0.01)
        assert stop.elapsed_ns == told
        assert_runs(pid)


def test_threads_that_are_being_started_are_stopped_too() -> None:
    with python(CHURN) as process:
        stop_often(process.pid)
        assert process.ask("") == "alive"


def stop_often(pid: int) -> None:
    for _ in range(30):
        with stopped(pid) as stop:
            threads = procfs.threads(pid)
        alive = {thread.tid for thread in threads if thread.os_state != "zombie"}
        assert stop.registers.keys() == alive
        assert {thread.os_state for thread in threads} - {"zombie"} == HELD


def test_a_thread_that_waits_uninterruptibly_is_left_out_and_let_go_all_the_same(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with python(WAITS_FOR_FIFO, fifo) as process:
        wait_until(lambda: "disk sleep" in states(process.pid))
        (waiting,) = [t.tid for t in procfs.threads(process.pid) if t.os_state == "disk sleep"]
        with stopped(process.pid) as stop:
            assert stop.left_out == (waiting,)
            assert stop.registers.keys() == tids(process.pid) - {waiting}
        assert stop.elapsed_ns < 500_000_000
        wait_until(lambda: not is_traced(process.pid))
        os.close(os.open(fifo, os.O_WRONLY))
        assert process.read_line(20) == "went on"


# Whatever happens, it goes on


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_it_goes_on_after_an_exception(kind: type[BaseException]) -> None:
    before = threading.active_count(), len(descriptors())
    with spinning() as (pid,):
        with pytest.raises(kind), stopped(pid):
            raise kind
        assert (threading.active_count(), len(descriptors())) == before
        assert_runs(pid)


def test_it_goes_on_after_an_interruption_while_it_was_being_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt_and_see_nothing(tid: int) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(ptrace, "has_stopped", interrupt_and_see_nothing)
    with spinning() as (pid,):
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), stopped(pid):
            pass
        assert time.monotonic() - began < 0.9
        assert_runs(pid)


def test_a_thread_that_takes_its_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def has_stopped(tid: int) -> int | None:
        return real(tid) if time.monotonic() > began + 0.1 else None

    real, began = ptrace.has_stopped, time.monotonic()
    monkeypatch.setattr(ptrace, "has_stopped", has_stopped)
    with sleeping() as child, stopped(child.pid) as stop:
        assert stop.registers.keys() == {child.pid}


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name
)
def test_it_goes_on_when_spyglass_is_killed(number: signal.Signals) -> None:
    with spinning() as (pid,):
        with python(HOLDER, pid) as holder:
            assert states(pid) == HELD
            os.kill(holder.pid, number)
            again = time.monotonic() + 2

            def has_ended() -> bool:
                if not holder.is_alive():
                    return True
                if (
                    time.monotonic() > again
                ):  # Python sees one that came just before a read when the next ends it
                    os.kill(holder.pid, number)
                return False

            wait_until(has_ended)
        assert_runs(pid)


def test_a_signal_that_was_on_its_way_arrives_even_if_spyglass_is_killed() -> None:
    def stop_and_die() -> None:
        ptrace.seize(pid)
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: ptrace.has_stopped(pid))
        os.kill(os.getpid(), signal.SIGKILL)

    with forked(lambda: None) as pid:  # it does not handle the signal, so this ends it
        child = os.fork()
        if child == 0:
            stop_and_die()
        os.waitpid(child, 0)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    assert (found.si_code, found.si_status) == (os.CLD_KILLED, signal.SIGUSR1)


def test_spyglass_cannot_be_suspended_while_it_holds_a_process() -> None:
    with spinning() as (pid,), python(HOLDER, pid) as holder:
        assert holder.ask("suspend") == "not suspended"


def test_what_ctrl_z_does_is_as_it_was_afterwards() -> None:
    def handler(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTSTP, handler)
    try:
        with sleeping() as child, stopped(child.pid):
            assert signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTSTP) is handler
    finally:
        signal.signal(signal.SIGTSTP, before)


# Nobody notices


def test_signals_that_arrive_while_it_is_being_stopped_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one moment: it is traced, and not yet asked to stop."""
    real = ptrace.interrupt

    def after_a_signal(tid: int) -> None:
        os.kill(tid, signal.SIGUSR1)
        wait_until(lambda: states(tid) == HELD)
        real(tid)

    monkeypatch.setattr(ptrace, "interrupt", after_a_signal)
    reader, writer = os.pipe()
    with forked(lambda: signal.signal(signal.SIGUSR1, lambda *_: os.write(writer, b"!"))) as pid:
        with stopped(pid) as stop:
            assert stop.registers.keys() == {pid}
        assert os.read(reader, 10) == b"!"
    os.close(reader)
    os.close(writer)


def test_signals_that_arrive_while_it_is_stopped_reach_it() -> None:
    with sleeping() as child:
        with stopped(child.pid):
            assert child.poll() is None
            child.terminate()
            time.sleep(0.01)
            assert states(child.pid) == HELD
        assert child.wait(20) == -signal.SIGTERM


def test_what_job_control_stopped_stays_stopped() -> None:
    with start("park", NEWEST, Flavour.EXE, "-n", "10") as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: states(process.pid) == BY_JOB_CONTROL)
        with stopped(process.pid) as stop:
            assert states(process.pid) == HELD
            assert stop.registers.keys() == tids(process.pid)
        wait_until(lambda: states(process.pid) == BY_JOB_CONTROL)
        os.kill(process.pid, signal.SIGCONT)
        assert int(process.ask("gap")) > 0


def test_what_job_control_continues_meanwhile_goes_on() -> None:
    with spinning() as (pid,):
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: states(pid) == BY_JOB_CONTROL)
        with stopped(pid):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)
            assert states(pid) == HELD
        assert_runs(pid)


def test_the_parent_of_the_process_notices_nothing() -> None:
    with parent_of("sleep", 600) as (parent, child):
        for _ in range(5):
            with stopped(child):
                assert parent.ask("noticed?") == "[] None"
        assert parent.ask("noticed?") == "[] None"


def test_the_parent_learns_that_it_was_killed_meanwhile() -> None:
    with parent_of("sleep", 600) as (parent, child):
        with stopped(child):
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: "SIGCHLD" in parent.ask("noticed?"))


def test_a_thread_that_is_no_more_does_not_run() -> None:
    with sleeping() as child:
        pass
    assert ptrace.has_stopped(child.pid) == 0


# When it cannot be stopped


def test_who_traces_it_already_is_named() -> None:
    with spinning() as (pid,):
        with python(TRACER, pid) as tracer:
            with (
                pytest.raises(
                    TargetError, match=f"already traced by process {tracer.pid} "
                ) as raised,
                stopped(pid),
            ):
                pass
            assert raised.value.hint
        assert_runs(pid)


def test_there_is_no_such_process() -> None:
    with sleeping() as child:
        pass
    with pytest.raises(ProcessNotFound), stopped(child.pid):
        pass


def test_spyglass_does_not_stop_itself() -> None:
    with pytest.raises(TargetError, match="itself"), stopped(os.getpid()):
        pass


def stop_at_the_moment(
    monkeypatch: pytest.MonkeyPatch, pid: int, happens: Callable[[], object]
) -> None:
    """Stop process `pid`, when something `happens` after it was seized."""
    real = ptrace.interrupt

    def interrupt(tid: int) -> None:
        happens()
        real(tid)

    monkeypatch.setattr(ptrace, "interrupt", interrupt)
    with stopped(pid):
        pass


def test_a_process_that_ends_while_it_is_being_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeping() as child, pytest.raises(ProcessChanged, match="ended"):
        stop_at_the_moment(monkeypatch, child.pid, child.kill)


def test_a_process_that_runs_another_program_while_it_is_being_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_another() -> None:
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")

    with parent_of(sys.executable, "-c", RUNS_ANOTHER) as (_, pid):
        wait_until(lambda: len(tids(pid)) == 2)
        with pytest.raises(ProcessChanged, match="exec"):
            stop_at_the_moment(monkeypatch, pid, run_another)
        wait_until(lambda: not is_traced(pid))


@needs_root
def test_an_ordinary_user_may_stop_its_own_processes_only() -> None:
    def stop_both() -> bool:
        become()
        with spinning() as (own,), stopped(own) as stop:
            assert stop.registers.keys() == {own}
        with (
            pytest.raises(PermissionDenied, match="it runs as root, and spyglass as nobody"),
            stopped(pid),
        ):
            pass
        return True

    with spinning() as (pid,):
        assert in_child(stop_both)
        assert_runs(pid)
