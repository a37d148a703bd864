from __future__ import annotations

import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

import spyglass
from spyglass import procfs
from spyglass.inspector import Inspector
from spyglass.threads import Registers, Sampled, sample_threads
from spyglass.threads.architecture import own_architecture
from spyglass.threads.perf import sampling_period_ns
from spyglass.threads.sample import DEFAULT_WAIT_NS
from tests.children import NOBODY, become, forbid_calls, forked, in_child, needs_root, sleeping
from tests.running import Goroutine, goroutines_by_tid, running, spinning
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = pytest.mark.live

#: For tests that are not about time: more threads than processors must each get their turn.
LONG_NS = 30_000_000_000
SPINNING = 3


def anything(registers: Registers) -> bool:
    return True


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# What is sampled


@pytest.fixture(scope="module")
def spinning_go(minor: str) -> Iterator[GoProcess]:
    with start(
        "truth", minor, Flavour.EXE, "-n", "1", "-spin", str(SPINNING), env={"GOMAXPROCS": "4"}
    ) as process:
        yield process


@pytest.fixture(scope="module")
def sampled_go(spinning_go: GoProcess) -> tuple[Inspector, list[tuple[Registers, Goroutine]]]:
    """Samples of the goroutines that spin, each with what the runtime says of its goroutine.

    Both of the same moment: from before the sample until after it, each had the same thread.
    """
    inspector = spyglass.attach(spinning_go.pid)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = goroutines_by_tid(inspector)
        sampled = sample_threads(list(before), on_stack_of(before), 100_000_000)
        assert sampled.denied is None
        if len(sampled.registers) == SPINNING and goroutines_by_tid(inspector) == before:
            return inspector, [(sampled.registers[tid], before[tid]) for tid in before]
    pytest.fail("the goroutines never stayed on their threads")


def on_stack_of(goroutines: dict[int, Goroutine]) -> Callable[[Registers], bool]:
    def accept(registers: Registers) -> bool:
        goroutine = goroutines[registers.tid]
        return goroutine.low <= registers.sp < goroutine.high

    return accept


def test_a_running_goroutine_is_where_it_spins(
    sampled_go: tuple[Inspector, list[tuple[Registers, Goroutine]]],
) -> None:
    inspector, pairs = sampled_go
    for registers, _ in pairs:
        function = inspector.runtime.functions.at(registers.pc)
        assert function is not None
        assert function.name == "main.spin1"


def test_the_g_register_holds_the_goroutine(
    sampled_go: tuple[Inspector, list[tuple[Registers, Goroutine]]], minor: str
) -> None:
    if tuple(map(int, minor.split("."))) < (1, 17):
        pytest.skip("amd64 has a g register since Go 1.17")
    _, pairs = sampled_go
    assert [registers.g for registers, _ in pairs] == [goroutine.address for _, goroutine in pairs]


def test_the_dump_begins_at_the_stack_pointer_and_belongs_to_the_moment(
    sampled_go: tuple[Inspector, list[tuple[Registers, Goroutine]]],
) -> None:
    inspector, pairs = sampled_go
    functions, memory = inspector.runtime.functions, inspector.runtime.memory
    for registers, goroutine in pairs:
        spin = functions.at(registers.pc)
        assert spin is not None
        size = functions.frame_size(spin, registers.pc)
        assert size is not None
        caller = functions.at(struct.unpack_from("<Q", registers.stack, size)[0])
        assert caller is not None
        # The go statement has an argument, for which newer compilers make a function.
        assert caller.name == "runtime.goexit" or caller.name.startswith("main.main.")
        used = goroutine.high - registers.sp
        assert registers.stack[size:used] == memory.read(registers.sp, used)[size:]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the frame pointer is rbp")
def test_a_c_program_is_in_its_code_and_on_its_stack() -> None:
    with spinning() as (pid,):
        registers = sample_threads([pid], anything, LONG_NS).registers[pid]
        maps = procfs.maps(pid)
    (code,) = [each for each in maps if each.start <= registers.pc < each.end]
    (stack,) = [each for each in maps if each.start <= registers.sp < each.end]
    assert code.executable
    assert stack.path == "[stack]"
    assert 0 < len(registers.stack) <= stack.end - registers.sp


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="looks for its instruction")
def test_a_thread_in_a_system_call_is_where_it_entered_the_kernel() -> None:
    space = bytearray(1 << 26)

    def read_zeros() -> None:
        with open("/dev/zero", "rb", buffering=0) as zeros:
            while zeros.readinto(space):
                pass

    behind_a_system_call: list[bool] = []

    def enough(registers: Registers) -> bool:
        behind_a_system_call.append(os.pread(memory, 2, registers.pc - 2) == b"\x0f\x05")
        return len(behind_a_system_call) == 20

    with running(read_zeros) as pid:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        try:
            sample_threads([pid], enough, LONG_NS)
        finally:
            os.close(memory)
    assert len(behind_a_system_call) == 20
    assert sum(behind_a_system_call) >= 10


# Which sample, and how long


def test_the_first_sample_that_is_accepted_is_kept() -> None:
    seen: list[Registers] = []

    def third(registers: Registers) -> bool:
        seen.append(registers)
        return len(seen) == 3

    with spinning() as (pid,):
        kept = sample_threads([pid], third, LONG_NS).registers
    assert len(seen) == 3
    assert kept[pid] is seen[2]


def test_a_thread_that_is_never_accepted_is_left_out_when_time_is_over() -> None:
    with spinning() as (pid,):
        began = time.monotonic_ns()
        assert sample_threads([pid], lambda registers: False) == Sampled({}, None)
        assert time.monotonic_ns() - began >= DEFAULT_WAIT_NS


def test_a_thread_that_does_not_run_is_left_out() -> None:
    with sleeping() as child, spinning() as (pid,):
        sampled = sample_threads([child.pid, pid], anything, 200_000_000)
    assert sampled.registers.keys() == {pid}
    assert sampled.denied is None


def test_a_thread_that_has_ended_is_left_out() -> None:
    with sleeping() as child:
        gone = child.pid
    with spinning() as (pid,):
        sampled = sample_threads([gone, pid, gone], anything, LONG_NS)
    assert sampled.registers.keys() == {pid}
    assert sampled.denied is None


def test_a_thread_that_ends_while_it_is_waited_for_is_left_out_at_once() -> None:
    def end_it(registers: Registers) -> bool:
        os.kill(registers.tid, signal.SIGKILL)
        return False

    with spinning() as (pid,):
        began = time.monotonic_ns()
        assert sample_threads([pid], end_it, LONG_NS).registers == {}
        assert time.monotonic_ns() - began < LONG_NS / 2


def test_no_threads_is_no_work() -> None:
    assert sample_threads([], anything) == Sampled({}, None)


# What it takes


def test_nothing_stays_open() -> None:
    def fail(registers: Registers) -> bool:
        raise RuntimeError

    with spinning(2) as pids:
        before = descriptors()
        sample_threads(pids, anything)
        with pytest.raises(RuntimeError):
            sample_threads(pids, fail, LONG_NS)
        assert descriptors() == before
    assert "perf_event" not in Path("/proc/self/maps").read_text()


def test_few_descriptors_mean_many_rounds() -> None:
    def sample() -> Sampled:
        room = len(descriptors()) + 5  # an event takes two
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))
        return sample_threads(pids, anything, LONG_NS)

    with spinning(6) as pids:
        sampled = in_child(sample)
    assert sampled.registers.keys() == set(pids)
    assert sampled.denied is None


def test_a_thread_that_sleeps_does_not_keep_later_batches_from_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spyglass.threads.sample._BATCH", 2)
    with sleeping() as child, spinning(3) as pids:
        sampled = sample_threads([child.pid, *pids], anything, 500_000_000)
    assert sampled.registers.keys() == set(pids)


def test_no_more_samples_are_taken_than_the_host_allows() -> None:
    allowed = int(Path("/proc/sys/kernel/perf_event_max_sample_rate").read_text())
    assert sampling_period_ns() >= 2e9 / allowed
    assert 250_000 <= sampling_period_ns() <= max(250_000, 2e9 / allowed)


# Permission


@needs_root
@pytest.mark.slow
def test_an_ordinary_user_may_sample_its_own_processes_as_far_as_memory_may_be_locked() -> None:
    def sample() -> tuple[int, Sampled]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        become()
        with spinning(20) as pids:
            return len(pids), sample_threads(pids, anything, LONG_NS)

    if paranoid() > 2:
        pytest.skip("kernel.perf_event_paranoid forbids it to ordinary users")
    count, sampled = in_child(sample)
    assert sampled.denied is None
    assert len(sampled.registers) == count


@needs_root
def test_the_processes_of_others_may_not_be_sampled_and_the_reason_says_so() -> None:
    def sample() -> Sampled:
        become()
        return sample_threads([pid], anything)

    with forked(lambda: become(NOBODY - 1)) as pid:
        sampled = in_child(sample)
    assert sampled.registers == {}
    assert sampled.denied is not None
    assert f"it runs as {NOBODY - 1}, and spyglass as nobody" in sampled.denied
    assert "sudo" in sampled.denied


def test_a_seccomp_filter_is_named() -> None:
    def sample() -> Sampled:
        forbid_perf_events()
        return sample_threads([pid], anything)

    with spinning() as (pid,):
        sampled = in_child(sample)
    assert sampled.registers == {}
    assert sampled.denied is not None
    assert "seccomp" in sampled.denied
    assert "PERFMON" in sampled.denied


def paranoid() -> int:
    return int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())


def forbid_perf_events() -> None:
    """Do as the default profile of Docker does."""
    forbid_calls(own_architecture().perf_event_open)


# What it costs


@pytest.mark.benchmark
def test_as_many_threads_as_processors_take_less_than_15_ms() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert len(sample_threads(pids, anything, LONG_NS).registers) == len(pids)
        return time.perf_counter() - began

    with spinning(os.cpu_count() or 1) as pids:
        assert median(seconds() for _ in range(30)) < 0.015


@pytest.mark.benchmark
def test_a_heartbeat_does_not_notice_that_its_thread_is_sampled() -> None:
    """The longest gaps of a 1 ms heartbeat, with and without samples being taken all the time."""

    def longest_gap_ns(act: Callable[[], object]) -> int:
        process.ask("gap")
        act()
        return int(process.ask("gap"))

    def reject(registers: Registers) -> bool:
        return False

    with start("park", NEWEST, Flavour.EXE, "-n", "1000") as process:
        tids = [thread.tid for thread in procfs.threads(process.pid)]
        alone, sampled = [], []
        for _ in range(50):
            alone.append(longest_gap_ns(lambda: time.sleep(0.03)))
            sampled.append(longest_gap_ns(lambda: sample_threads(tids, reject, 30_000_000)))
    assert median(sampled) < median(alone) + 500_000
