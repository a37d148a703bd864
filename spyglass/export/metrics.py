"""What is known of Go processes as Prometheus metrics (extra ``metrics``: prometheus-client).

For each process what client_golang's Go collector gives, by the same names and types, with the labels `pid` and `program`,
and `container`, `pod` and `namespace` where they are known
(``prometheus/go_collector.go``, ``go_collector_latest.go``; what they take from ``runtime.MemStats`` is here from the account of memory);
beside it metrics of spyglass's own. What is not known has no sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spyglass.analysis.groups import Group, groups
from spyglass.analysis.selection import selected
from spyglass.analysis.wait_verdicts import verdicts
from spyglass.escape import visible
from spyglass.memory_account import GcStats, GoMemory, MemoryAccount
from spyglass.model import Snapshot
from spyglass.process_list import Names
from spyglass.wait_graph import KINDS
from spyglass.words.population import Population
from spyglass.words.states import state_words

__all__ = ["Families", "Looked", "aged", "families", "page", "place_labels", "reading_counts"]

_MAX_LABEL = 200
_NS = 1e9
_LOCKS = ("mutex", "rwmutex")
_QUANTILES = 4
#: Go has some forty; a program may say that there are more.
_MAX_STATES = 64

#: ``go_memstats_*``: what each is the sum of, of the names of ``runtime/metrics`` (``memStatsFromRM``).
_MEMSTATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "alloc_bytes": ("Bytes in objects of the heap, dead ones too until they are swept.", ("heap/objects",)),
    "sys_bytes": ("Bytes obtained from the system.", ("total",)),
    "heap_alloc_bytes": ("Bytes in objects of the heap.", ("heap/objects",)),
    "heap_sys_bytes": (
        "Bytes of the heap obtained from the system.",
        ("heap/objects", "heap/unused", "heap/released", "heap/free"),
    ),
    "heap_idle_bytes": ("Bytes of spans without objects.", ("heap/released", "heap/free")),
    "heap_inuse_bytes": ("Bytes of spans with objects.", ("heap/objects", "heap/unused")),
    "heap_released_bytes": ("Bytes of the heap returned to the system.", ("heap/released",)),
    "stack_inuse_bytes": ("Bytes of stacks of goroutines.", ("heap/stacks",)),
    "stack_sys_bytes": ("Bytes of all stacks.", ("heap/stacks", "os-stacks")),
    "mspan_inuse_bytes": ("Bytes of mspan structures in use.", ("metadata/mspan/inuse",)),
    "mspan_sys_bytes": ("Bytes of mspan structures.", ("metadata/mspan/inuse", "metadata/mspan/free")),
    "mcache_inuse_bytes": ("Bytes of mcache structures in use.", ("metadata/mcache/inuse",)),
    "mcache_sys_bytes": ("Bytes of mcache structures.", ("metadata/mcache/inuse", "metadata/mcache/free")),
    "buck_hash_sys_bytes": ("Bytes of the tables of profiles.", ("profiling/buckets",)),
    "gc_sys_bytes": ("Bytes of metadata of the garbage collector.", ("metadata/other",)),
    "other_sys_bytes": ("Other bytes of the runtime.", ("other",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """What was read of process `pid`, which runs `program`, in `seconds`.

    `error`: why nothing could be read; else `snapshot` and, if it could be read, `account`. `place`: labels of its container
    (`place_labels`).
    """

    pid: int
    program: str
    seconds: float
    snapshot: Snapshot | None = None
    account: MemoryAccount | None = None
    error: str | None = None
    place: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of all its metrics."""
        return {"pid": str(self.pid), "program": _label(self.program), **self.place}


def place_labels(container: str | None, names: Names) -> dict[str, str]:
    """The labels that say in which container and pod a process is: names, and the id of a `container` without one."""
    known = {
        "container": names.container, "container_id": None if names.container else container,
        "pod": names.pod, "namespace": names.namespace,
    }  # fmt: skip
    return {name: _label(text) for name, text in known.items() if text}


def page(known: Iterable[Families], others: Sequence[Collector] = ()) -> bytes:
    """The metrics of processes, and what `others` collect, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    for each in (_Collected(tuple(known)), *others):
        registry.register(each)
    return generate_latest(registry)


def families(looked: Looked, top_groups: int = 20) -> Families:
    """The metrics of one process, with its `top_groups` largest groups of goroutines."""
    found = Families()
    _own(found, looked)
    if looked.snapshot is not None:
        _go(found, looked.labels, looked.snapshot)
        _scheduling(found, looked.labels, looked.snapshot)
        _goroutines(found, looked.labels, looked.snapshot, top_groups)
        _waits(found, looked.labels, looked.snapshot)
    if looked.account is not None:
        _memory(found, looked.labels, looked.account.go)
        _collections(found, looked.labels, looked.account.go.gc)
    return found


def aged(known: Families, labels: Mapping[str, str], seconds: float) -> Families:
    """`known`, which are `seconds` old, with a metric that says so."""
    found = Families()
    found.add(known)
    text = "Seconds since the values of this process were read."
    found.gauge("spyglass_reading_age_seconds", text, labels, seconds)
    return found


def reading_counts(done: int, failed: int) -> Families:
    """How many readings of processes were made, and how many of them failed."""
    found = Families()
    found.counter("spyglass_readings", "Readings of processes.", {}, done)
    found.counter("spyglass_reading_failures", "Readings of processes that failed.", {}, failed)
    return found


@dataclass(frozen=True, eq=False)  # the registry hashes it
class _Collected(Collector):
    known: tuple[Families, ...]

    def collect(self) -> Iterator[Metric]:
        merged = Families()
        for each in self.known:
            merged.add(each)
        return iter(merged)


class Families:
    """Metrics by their names; each has the samples of all processes, as the text format demands."""

    def __init__(self) -> None:
        self._known: dict[str, Metric] = {}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._known.values())

    def add(self, others: Families) -> None:
        """Add the samples of `others`, which stay as they are."""
        for each in others:
            family = self._known.setdefault(each.name, Metric(each.name, each.documentation, each.type))  # fmt: skip
            family.samples.extend(each.samples)

    def gauge(self, name: str, text: str, labels: Mapping[str, str], value: float | None) -> None:
        """Add a sample, unless its value is not known."""
        if value is None:
            return
        family = self._known.setdefault(name, GaugeMetricFamily(name, text, labels=list(labels)))
        family.add_sample(name, dict(labels), value)

    def counter(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        """As `gauge`, for a number that only grows; `name` without _total."""
        family = self._known.setdefault(name, CounterMetricFamily(name, text, labels=list(labels)))
        family.add_sample(f"{name}_total", dict(labels), value)

    def summary(self, name: str, text: str) -> Metric:
        """The metric `name`, whose samples the caller adds."""
        return self._known.setdefault(name, Metric(name, text, "summary"))


def _own(families: Families, looked: Looked) -> None:
    text = "Whether spyglass could read the process."
    families.gauge("spyglass_process_read", text, looked.labels, float(looked.error is None))
    text = "Seconds that reading the process took."
    families.gauge("spyglass_read_duration_seconds", text, looked.labels, looked.seconds)
    if looked.snapshot is not None:
        text = "Parts of the process that could not be read, or are doubtful."
        families.gauge("spyglass_read_problems", text, looked.labels, len(looked.snapshot.problems))


def _go(families: Families, labels: Mapping[str, str], snapshot: Snapshot) -> None:
    version = snapshot.process.go_version
    if version is not None:
        families.gauge("go_info", "Version of Go.", {**labels, "version": _label(version)}, 1)
    count = Population.whole(snapshot).user
    families.gauge("go_goroutines", "Number of goroutines.", labels, count)
    threads = sum(thread.m is not None for thread in snapshot.threads)
    families.gauge("go_threads", "Number of OS threads of the runtime.", labels, threads)
    text = "GOMAXPROCS: how many threads may run Go code at once."
    families.gauge("go_sched_gomaxprocs_threads", text, labels, snapshot.scheduler.gomaxprocs)


def _memory(families: Families, labels: Mapping[str, str], go: GoMemory) -> None:
    for name, (text, parts) in _MEMSTATS.items():
        known = [go.classes.get(part) for part in parts]
        value = None if None in known else sum(each for each in known if each is not None)
        families.gauge(f"go_memstats_{name}", text, labels, value)
    text = "Size of the heap at which the next collection ends."
    families.gauge("go_memstats_next_gc_bytes", text, labels, go.heap_goal_bytes)
    # As runtime/metrics.go has it: GOGC=off is -1 as an unsigned number.
    percent = 2**64 - 1 if go.gogc_percent == -1 else go.gogc_percent
    families.gauge("go_gc_gogc_percent", "GOGC.", labels, percent)
    families.gauge("go_gc_gomemlimit_bytes", "GOMEMLIMIT.", labels, go.memory_limit_bytes)


def _collections(families: Families, labels: Mapping[str, str], gc: GcStats) -> None:
    last = gc.last_at.timestamp() if gc.last_at else 0 if gc.cycles == 0 else None
    text = "When the last garbage collection ended, in seconds since 1970."
    families.gauge("go_memstats_last_gc_time_seconds", text, labels, last)
    if gc.cycles is None or gc.pause_total_ns is None:
        return
    name = "go_gc_duration_seconds"
    family = families.summary(name, "Stop-the-world pauses of garbage collections.")
    named = dict(labels)
    for at, pause_ns in enumerate(_quantiles(gc.pauses_ns)):
        quantile = {"quantile": f"{at / _QUANTILES:g}"}
        family.add_sample(name, named | quantile, pause_ns / _NS)
    family.add_sample(f"{name}_sum", named, gc.pause_total_ns / _NS)
    family.add_sample(f"{name}_count", named, gc.cycles)


def _quantiles(pauses_ns: Sequence[int]) -> list[int]:
    """Least, quartiles and greatest, as ``runtime/debug/garbage.go: ReadGCStats`` chooses them."""
    if not pauses_ns:
        return [0] * (_QUANTILES + 1)
    ordered = sorted(pauses_ns)
    return [*(ordered[len(ordered) * at // _QUANTILES] for at in range(_QUANTILES)), ordered[-1]]


def _scheduling(families: Families, labels: Mapping[str, str], snapshot: Snapshot) -> None:
    queue = snapshot.scheduler.run_queue
    waiting = None if queue is None else queue + sum(each.run_queue for each in snapshot.processors)
    families.gauge("spyglass_run_queue", "Goroutines that wait for a P.", labels, waiting)
    text = "Resident memory of the process."
    families.gauge("spyglass_resident_bytes", text, labels, snapshot.process.rss_bytes)


def _goroutines(
    families: Families, labels: Mapping[str, str], snapshot: Snapshot, top: int
) -> None:
    found = groups(snapshot)
    states: Counter[str] = Counter()
    for group in found:
        states[_label(state_words(group.status, group.wait_reason))] += group.count
    for state, count in states.most_common(_MAX_STATES):
        text = "Goroutines by the words that Go's traceback prints."
        families.gauge("spyglass_goroutines", text, {**labels, "state": state}, count)
    merged: Counter[tuple[str, str]] = Counter()
    for group in found:
        merged[_label(group.state), _label(_function(group))] += group.count
    for (state, function), count in merged.most_common(top):
        text = "The largest groups of goroutines, by state and function of the user's code."
        place = {"state": state, "function": function}
        families.gauge("spyglass_goroutine_group", text, {**labels, **place}, count)
    waits = snapshot.goroutines.waiting_ns[selected(snapshot.goroutines)]
    longest = int(waits.max(initial=-1))
    text = "The longest wait of a goroutine that is known, a lower bound."
    families.gauge("spyglass_oldest_wait_seconds", text, labels, longest / _NS if longest >= 0 else None)  # fmt: skip


def _function(group: Group) -> str:
    place = group.where or group.start
    return place.function if place else ""


def _waits(families: Families, labels: Mapping[str, str], snapshot: Snapshot) -> None:
    graph, known = snapshot.waits, verdicts(snapshot)
    if graph is None or known is None:
        return
    kinds = graph.objects.kind[graph.waits.object]
    locks = np.isin(kinds, [KINDS.index(each) for each in _LOCKS])
    waiters = len(set(graph.waits.goroutine[locks].tolist()))
    families.gauge("spyglass_lock_waiters", "Goroutines that wait for a lock.", labels, waiters)
    circles = {each for deadlock in known.deadlocks for each in deadlock.goroutines}
    text = "Goroutines that wait for each other in a circle."
    families.gauge("spyglass_deadlocked_goroutines", text, labels, len(circles))
    if graph.looked_at.heap_complete:
        stuck = int(np.count_nonzero(known.stuck == 1))
        text = "Goroutines that nothing alive can wake."
        families.gauge("spyglass_stuck_goroutines", text, labels, stuck)
    connections = graph.objects.connection[graph.waits.object[kinds == KINDS.index("fd")]]
    peers = {graph.connections[each].remote for each in connections[connections >= 0].tolist()}
    text = "Different peers that goroutines wait for."
    families.gauge("spyglass_peers_waited_for", text, labels, len(peers - {None}))


def _label(text: str) -> str:
    return visible(text)[:_MAX_LABEL]
