"""From when on something is a finding, and why. The only place with these numbers.

They are chosen so that Debian's idle Prometheus, etcd and node_exporter have no finding, and that an
incident has one while it still goes on.
"""

from __future__ import annotations

__all__ = [
    "BUSY_CORES",
    "CROWD_COUNT",
    "CROWD_SHARE",
    "DOUBT_COUNT",
    "DOUBT_SHARE",
    "FORECAST_CRITICAL_SECONDS",
    "GC_CORES",
    "GC_CPU_SHARE",
    "GC_PER_SECOND",
    "HOST_DELAY",
    "HOT_SHARE",
    "IDLE_CORES",
    "IDLE_CROWD_SHARE",
    "KEPT_CPU_NS",
    "KEPT_NS",
    "LIMIT_CRITICAL_SHARE",
    "LIMIT_SHARE",
    "LOCK_BOUND_SHARE",
    "LOCK_CRITICAL_NS",
    "LOCK_WAITERS",
    "LOCK_WAIT_NS",
    "LONG_CALLS",
    "MIN_COLLECTIONS",
    "MIN_LOOKS",
    "MIN_SAMPLES",
    "MIN_WINDOW_NS",
    "PART_BYTES",
    "PART_SHARE",
    "PEER_WAITERS",
    "PEER_WAIT_NS",
    "PRESSURE_PERCENT",
    "REQUEST_WAIT_NS",
    "RUNNABLE_COUNT",
    "RUNNABLE_PER_P",
    "RUN_WAIT_MEAN_NS",
    "RUN_WAIT_P99_NS",
    "SAMPLED_SHARE",
    "SATURATED_SHARE",
    "SPINNING_MS",
    "SPINNING_SHARE",
    "SYSCALL_COUNT",
    "SYSCALL_PER_P",
    "THRASH_SHARE",
    "THROTTLED_CRITICAL_SHARE",
    "THROTTLED_SHARE",
]

_SECOND_NS = 10**9

# Processor time.
#: Used processors from which on CPU is worth a line: a goroutine that never rests uses 1.0, and on a host
#: whose processors are all wanted half of that.
BUSY_CORES = 0.5
#: Share of the processors that may be used (affinity, quota) from which on they are the bottleneck: little
#: is left for a burst, and the run queues grow.
SATURATED_SHARE = 0.9
#: Share of samples in one function that makes it the place to look at. In a server that does its work
#: the samples are in many.
HOT_SHARE = 0.8
#: Threads that were sampled used so much of the processor time: else samples are no share of it.
SAMPLED_SHARE = 0.9
#: Samples below which shares are not stated, and the shortest window for a rate: with 10 ms ticks and
#: a window of 50 ms an error of a fifth is left.
MIN_SAMPLES = 10
MIN_WINDOW_NS = 50_000_000
#: Share of the quota's periods in which the group had to wait. A single burst is throttled in one period
#: of ten in a second; half of all periods doubles latencies.
THROTTLED_SHARE = 0.1
THROTTLED_CRITICAL_SHARE = 0.5

# Goroutines that wait.
#: A crowd: that many goroutines of one state at one function, and that share of all. A request of net/http
#: that waits has two goroutines (one reads ahead), and those that hold what it waits for are there
#: too: so a quarter of all is much.
CROWD_COUNT = 20
CROWD_SHARE = 0.25
#: In states in which goroutines also wait for work it takes more.
IDLE_CROWD_SHARE = 0.5
#: Locks are held for microseconds; one second is a thousand time slices too long, a minute a stall.
LOCK_WAIT_NS = _SECOND_NS
LOCK_CRITICAL_NS = 60 * _SECOND_NS
#: Goroutines that wait for a lock in one function at the same moment, if it is not known how long: a few do
#: so in any busy program.
LOCK_WAITERS = 5
#: Goroutines that wait for one peer in the user's code, and how long the oldest must have waited: calls of a
#: pool of connections take milliseconds each.
PEER_WAITERS = 5
PEER_WAIT_NS = 10 * _SECOND_NS
#: Servers and load balancers time requests out after 30 or 60 seconds.
REQUEST_WAIT_NS = 60 * _SECOND_NS

# The scheduler.
#: Runnable goroutines per P at one moment, and in all: with ten for each P and slices of up to 10 ms
#: (``forcePreemptNS``, proc.go) a goroutine may wait 100 ms for its turn.
RUNNABLE_PER_P = 10
RUNNABLE_COUNT = 20
#: Goroutines in system calls or C, each of which occupies a thread.
SYSCALL_PER_P = 8
SYSCALL_COUNT = 32

# The scheduler in a window.
#: A goroutine that the scheduler cannot preempt: it does so after 10 ms (``forcePreemptNS``), checked by a thread
#: (``sysmon``) that itself must wait for a processor on a busy host. The goroutine's thread must have run so long.
KEPT_NS = 500_000_000
KEPT_CPU_NS = 200_000_000
#: What one of a hundred goroutines that become ready waits for a P, or all of them on average: five and two slices.
RUN_WAIT_P99_NS = 50_000_000
RUN_WAIT_MEAN_NS = 20_000_000
#: Threads that are in one call for the whole window in one function: one that waits for signals or input is normal.
LONG_CALLS = 5
#: Looks at the scheduler below which means of them are not stated.
MIN_LOOKS = 5
#: Threads that look for work, on average, and as a share of those that run or wait for a processor: one looks for some
#: microseconds when its goroutine is done, or when another becomes ready.
SPINNING_MS = 0.75
SPINNING_SHARE = 0.25
#: Ps that the collector takes, and its share of the threads that run or wait for a processor: it takes a quarter of GOMAXPROCS while it
#: runs, and in most programs it seldom runs.
GC_CORES = 0.1
GC_CPU_SHARE = 0.25
#: Processors that threads wait for on average, if that is more than they get: with half of one, latencies double.
HOST_DELAY = 0.5
#: Share of the processors that may be used below which there was room to run more, if it was not for locks.
LOCK_BOUND_SHARE = 0.75
#: Used processors up to which nothing runs but timers and what answers health checks.
IDLE_CORES = 0.02

# Memory.
#: Share of a limit (GOMEMLIMIT, or that of the control group) from which on it is near, and from which
#: on the next allocation may be the last.
LIMIT_SHARE = 0.9
LIMIT_CRITICAL_SHARE = 0.97
#: A limit that is met so soon leaves no time for more than a restart or a higher limit.
FORECAST_CRITICAL_SECONDS = 600
#: Share of a minute in which tasks waited for memory: there is none while memory suffices.
PRESSURE_PERCENT = 10
#: Collections a second, over ten seconds. At the default GOGC a cycle takes a quarter of the processors
#: while it runs, 25 ms and more of a heap that is worth a line.
GC_PER_SECOND = 5
#: A part of resident memory that is most of it, or nearly so, and from when on memory is worth a line: a small service
#: has half of this.
PART_SHARE = 0.4
PART_BYTES = 64 << 20
#: Share of the heap goal that is live, from which on GOMEMLIMIT leaves next to nothing to allocate between two
#: collections.
THRASH_SHARE = 0.8
#: Collections below which their share of all processor time says nothing: a program collects several times when it starts.
MIN_COLLECTIONS = 20

# What is doubtful.
#: Goroutines that could not be read as of one moment, and their share: one or two are marked where they are
#: listed.
DOUBT_COUNT = 5
DOUBT_SHARE = 0.05
