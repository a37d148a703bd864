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
    "GC_PER_SECOND",
    "HOT_SHARE",
    "IDLE_CROWD_SHARE",
    "LIMIT_CRITICAL_SHARE",
    "LIMIT_SHARE",
    "LOCK_CRITICAL_NS",
    "LOCK_WAITERS",
    "LOCK_WAIT_NS",
    "MIN_SAMPLES",
    "MIN_WINDOW_NS",
    "PEER_WAITERS",
    "PEER_WAIT_NS",
    "REQUEST_WAIT_NS",
    "RUNNABLE_COUNT",
    "RUNNABLE_PER_P",
    "SATURATED_SHARE",
    "SYSCALL_COUNT",
    "SYSCALL_PER_P",
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

# Memory.
#: Share of a limit (GOMEMLIMIT, or that of the control group) from which on it is near, and from which
#: on the next allocation may be the last.
LIMIT_SHARE = 0.9
LIMIT_CRITICAL_SHARE = 0.97
#: Collections a second, over ten seconds. At the default GOGC a cycle takes a quarter of the processors
#: while it runs, 25 ms and more of a heap that is worth a line.
GC_PER_SECOND = 5

# What is doubtful.
#: Goroutines that could not be read as of one moment, and their share: one or two are marked where they are
#: listed.
DOUBT_COUNT = 5
DOUBT_SHARE = 0.05
