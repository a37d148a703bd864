"""Finished servers under load: where their time goes, against their own profiles of the same seconds."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from statistics import mean

import pytest

import spyglass
from spyglass.profile import Profile
from tests.finished import running
from tests.integration.test_record import distance, hurried, innermost, with_other_work
from tests.profiles import decoded
from tests.server_load import loaded

pytestmark = [pytest.mark.live, pytest.mark.slow]

SECONDS = 15
#: Functions that only call the kernel. The timers of Go's profiler are those of the threads' processor time, at which the
#: kernel looks at its ticks, 4 ms apart (``kernel/time/posix-cpu-timers.c``, CONFIG_HZ): of threads that run for less at a
#: time, as those that wait for IO do, it misses a part. Both see the same of what computes.
_CALLS_OF_KERNEL = (
    "Syscall",
    "Syscall6",
    "futex",
    "epollwait",
    "usleep",
    "madvise",
    "tgkill",
    "write1",
    "read",
)
#: A thread without a P, which Go's profiler leaves out: it samples threads that have run goroutines
#: (``runtime/proc.go: execute``, setThreadCPUProfiler).
_WITHOUT_P = "runtime.sysmon"
#: What tells the time, in the vDSO: Go's profiles name who called it (``runtime/proc.go: sigprof``, vdsoPC).
_CLOCKS = (
    "runtime.nanotime",
    "runtime.nanotime1",
    "runtime.walltime",
    "runtime.walltime1",
    "time.now",
)
_VDSO = "[vdso]"


@pytest.mark.parametrize(
    "name", ["prometheus-bookworm", "prometheus-trixie", "etcd-trixie", "node-exporter-sid"]
)
@with_other_work
def test_functions_have_the_shares_that_a_servers_own_profile_gives_them(name: str) -> None:
    with hurried(), running(name) as process, loaded(name, process.port):
        time.sleep(2)
        with (
            own_profile(process.port) as own,
            spyglass.attach(process.pid) as program,
            program.recording(rate_hz=199) as recording,
        ):
            while not own:
                recording.step()
            profile = recording.finish()
    ours, theirs = shown_by_us(profile), shown_by_go(own[0])
    assert theirs.total() > 100
    assert distance(ours, theirs) < by_chance(ours, theirs) + 0.03


def by_chance(one: Counter[str], other: Counter[str]) -> float:
    """The mean distance of two samples of one distribution, as large as these: both together, divided by chance. Where
    most functions have one sample or two, it is more than the normal distribution tells."""
    both = list((one + other).elements())
    shuffled = random.Random(7)
    distances = []
    for _ in range(30):
        shuffled.shuffle(both)
        distances.append(distance(Counter(both[: one.total()]), Counter(both[one.total() :])))
    return mean(distances)


@contextmanager
def own_profile(port: int) -> Iterator[list[bytes]]:
    """The profile of processor time that the server at `port` takes of itself, once it is there."""
    found: list[bytes] = []

    def get() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=SECONDS + 60)) as connection:
            connection.request("GET", f"/debug/pprof/profile?seconds={SECONDS}")
            found.append(connection.getresponse().read())

    thread = threading.Thread(target=get)
    thread.start()
    yield found
    thread.join()


def shown_by_us(profile: Profile) -> Counter[str]:
    samples = profile.samples
    stacks = samples.stack.tolist()
    names = {stack: [frame.function for frame in profile.stack(stack)] for stack in set(stacks)}
    return leaves(
        (names[stack], count) for stack, count in zip(stacks, samples.count.tolist(), strict=True)
    )


def shown_by_go(raw: bytes) -> Counter[str]:
    samples = decoded(raw).values.items()
    return leaves((sample.functions, count) for sample, (count, _) in samples)


def leaves(stacks: Iterable[tuple[Sequence[str], int]]) -> Counter[str]:
    """The innermost functions of stacks, those that compute."""
    found: Counter[str] = Counter()
    for names, count in stacks:
        if names and _WITHOUT_P not in names:
            name = names[0] if len(names) == 1 else innermost(list(names))
            if name.rpartition(".")[2] not in _CALLS_OF_KERNEL:
                found["[clock]" if name.startswith(_VDSO) or name in _CLOCKS else name] += count
    return found
