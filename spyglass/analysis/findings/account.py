"""What resident memory is mostly of, and a garbage collector that works for little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from spyglass.analysis.findings.finding import Findable, Finding
from spyglass.analysis.findings.thresholds import (
    GC_CPU_SHARE,
    GC_PER_SECOND,
    MIN_COLLECTIONS,
    PART_BYTES,
    PART_SHARE,
    THRASH_SHARE,
)
from spyglass.analysis.memory_parts import ObjectShares, object_shares, stack_groups
from spyglass.memory_account import GoMemory, MemoryAccount, Part
from spyglass.model import RECENT_GC_SECONDS
from spyglass.words.units import UNKNOWN, count, plural, size

__all__ = ["account_findings", "is_thrashing"]


def account_findings(findable: Findable) -> Iterator[Finding]:
    """Parts that are a large share of resident memory, and collections that the limit or their cost makes unusual."""
    account = findable.snapshot.account
    if account is None:
        return
    yield from _collections(findable, account.go)
    rss = account.rss_bytes
    if not rss:
        return
    for measure, describe in _PARTS:
        part = measure(account)
        if part >= max(PART_SHARE * rss, PART_BYTES):
            found = describe(findable, account)
            beginning = f"resident memory {size(rss)}: {100 * part / rss:.0f} % "
            yield replace(found, title=beginning + found.title)


def _collections(findable: Findable, go: GoMemory) -> Iterator[Finding]:
    if is_thrashing(go):
        yield Finding(
            kind="limit-thrash",
            severity="warning",
            title=f"GOMEMLIMIT {size(go.memory_limit_bytes)} makes Go collect {count(go.gc.recent_cycles)} "
            f"times in {RECENT_GC_SECONDS} s: {size(go.heap_live_bytes)} of the heap are live, the goal is "
            f"{size(go.heap_goal_bytes)} ({_gogc(go)} alone: {_or_none(go.gogc_goal_bytes)})",
            next=_next(findable, "--heap"),
        )
    fraction, cycles = go.gc.cpu_fraction, go.gc.cycles
    if fraction is not None and fraction >= GC_CPU_SHARE and (cycles or 0) >= MIN_COLLECTIONS:
        yield Finding(
            kind="gc-bound",
            severity="warning",
            title=f"garbage collections took {100 * fraction:.0f} % of the processor time that was available "
            f"since the start; {count(cycles)} of them",
            next=_next(findable, "--heap"),
        )


def _next(findable: Findable, *options: str) -> str:
    """Of a saved snapshot, the rest of it; of others, what only ``spyglass memory`` reads."""
    if findable.snapshot.file is not None:
        return findable.command("summary")
    return findable.command("memory", *options)


def is_thrashing(go: GoMemory) -> bool:
    """Whether GOMEMLIMIT, not GOGC, sets a goal that live objects nearly fill, so that Go hardly rests."""
    goal, live, cycles = go.heap_goal_bytes, go.heap_live_bytes, go.gc.recent_cycles
    if go.memory_limit_bytes is None or goal is None or live is None or cycles is None:
        return False
    limited = go.gogc_goal_bytes is None or goal < go.gogc_goal_bytes
    often = cycles >= GC_PER_SECOND * RECENT_GC_SECONDS
    return limited and often and live >= THRASH_SHARE * goal


def _gogc(go: GoMemory) -> str:
    return {None: "GOGC ?", -1: "GOGC=off"}.get(go.gogc_percent, f"GOGC={go.gogc_percent}")


def _or_none(goal: int | None) -> str:
    return "no goal" if goal is None else size(goal)


def _settings(go: GoMemory) -> str:
    limit = go.memory_limit_bytes
    return f"{_gogc(go)}, {'no GOMEMLIMIT' if limit is None else f'GOMEMLIMIT {size(limit)}'}"


def _live(findable: Findable, account: MemoryAccount) -> Finding:
    go = account.go
    return Finding(
        kind="memory-live",
        severity="info",
        title=f"is objects of the Go heap that the last collection found alive ({size(go.heap_live_bytes)} "
        f"with what is not resident); the next one ends at {_or_none(go.heap_goal_bytes)}",
        next=_next(findable, "--heap"),
    )


def _garbage(findable: Findable, account: MemoryAccount) -> Finding:
    goal = account.go.heap_goal_bytes
    until = "there will be none" if goal is None else f"the next one ends at {size(goal)}"
    return Finding(
        kind="memory-garbage",
        severity="warning" if goal is None else "info",
        title=f"is objects allocated since the last collection; {until} ({_settings(account.go)})",
        next=_next(findable, "--heap"),
    )


def _unswept(findable: Findable, account: MemoryAccount) -> Finding:
    return Finding(
        kind="memory-unswept",
        severity="info",
        title="is garbage of the Go heap that is not swept yet: Go frees it before it allocates from there, or before the "
        "next collection",
    )


def _kept(findable: Findable, account: MemoryAccount) -> Finding:
    released = account.go.classes.get("heap/released")
    return Finding(
        kind="memory-kept",
        severity="warning",
        title=f"is heap that Go freed and keeps ({_settings(account.go)}); {size(released)} are returned to the "
        "kernel",
    )


def _lazy(findable: Findable, account: MemoryAccount) -> Finding:
    return Finding(
        kind="memory-lazy-free",
        severity="info",
        title="was freed with MADV_FREE: the kernel takes it as soon as it needs memory, so it is no leak",
    )


def _fragmented(findable: Findable, account: MemoryAccount) -> Finding:
    objects, unused = (account.go.classes.get(f"heap/{name}") for name in ("objects", "unused"))
    spans = None if objects is None or unused is None else objects + unused
    used = account.part("go_heap_objects") if objects is None else objects
    of = "" if spans is None else f" of {size(spans)}"
    return Finding(
        kind="memory-fragmented",
        severity="warning",
        title=f"is unused slots in spans of the heap: {size(used)}{of} in spans hold objects",
        next=_next(findable, "--heap"),
    )


def _stacks(findable: Findable, account: MemoryAccount) -> Finding:
    groups = stack_groups(findable.snapshot)
    largest = ""
    functions: tuple[str, ...] = ()
    if groups:
        first = groups[0]
        functions = () if first.where is None else (first.where.function,)
        name = "".join(functions) or UNKNOWN
        largest = (
            f"; {count(first.goroutines)} in {first.state} at {name} have {size(first.stack_bytes)}"
        )
    number = sum(each.goroutines for each in groups)
    return Finding(
        kind="memory-stacks",
        severity="warning",
        title=f"is stacks of {plural(number, 'goroutine')}{largest}",
        goroutines=number,
        functions=functions,
        next=findable.command("dump", "--group", "stack"),
    )


def _c(findable: Findable, account: MemoryAccount) -> Finding:
    return Finding(
        kind="memory-c",
        severity="warning",
        title="is anonymous memory that is not Go's: of C, or mapped by the program itself"
        f"{_largest(account, 'c')}",
    )


def _files(findable: Findable, account: MemoryAccount) -> Finding:
    return Finding(
        kind="memory-files",
        severity="info",
        title=f"is mapped files{_largest(account, 'files')}; of what is not changed the kernel drops pages when "
        "it needs memory",
    )


def _shared(findable: Findable, account: MemoryAccount) -> Finding:
    return Finding(
        kind="memory-shared",
        severity="warning",
        title=f"is shared memory or files in memory{_largest(account, 'shared')}, which stay until they are "
        "removed",
    )


def _largest(account: MemoryAccount, part: Part) -> str:
    for each in account.mappings:
        if each.part == part:
            name = each.name or f"a mapping at {each.address:#x}"
            return f"; {name} has {size(each.resident_bytes)}"
    return ""


def _objects(account: MemoryAccount) -> ObjectShares:
    return object_shares(account) or ObjectShares(0, 0, 0)


def _lazy_bytes(account: MemoryAccount) -> int:
    return sum(each.lazy_free_bytes for each in account.resident if each.part == "go_heap_free")


Measure = Callable[[MemoryAccount], int]
#: What is measured of an account, and what is said of it if it is much.
_PARTS: tuple[tuple[Measure, Callable[[Findable, MemoryAccount], Finding]], ...] = (
    (lambda account: _objects(account).live, _live),
    (lambda account: _objects(account).allocated, _garbage),
    (lambda account: _objects(account).unswept, _unswept),
    (lambda account: account.part("go_heap_free") - _lazy_bytes(account), _kept),
    (_lazy_bytes, _lazy),
    (lambda account: account.part("go_heap_unused"), _fragmented),
    (lambda account: account.part("go_stacks"), _stacks),
    (lambda account: account.part("c"), _c),
    (lambda account: account.part("files"), _files),
    (lambda account: account.part("shared"), _shared),
)
