"""Every field of the Go runtime that spyglass reads, declared once.

A field has the name that the newest Go gives it; the path of a nested one has dots ("sched.pc"). The
names behind it are those of older versions, newest first; the first that exists and has the right shape
is taken, because a member may keep its name and become a struct. No other module knows an older name or
compares versions: a field that some versions lack is optional, and its reader checks whether it exists.

A struct without one of its required fields is unknown as a whole, so a field is required only if what
reads it cannot do without, and a field that nothing reads is not declared. Tests prove both. The
source of the names is ``src/runtime`` of Go 1.12 to 1.27 (runtime2.go unless another file is named).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "STRUCTS",
    "Field",
    "has_generic_methods",
    "limit_headroom_percent",
    "passes_in_registers",
]

#: The numpy formats of a field that can be used: a number or pointer; a floating-point number; an array of
#: 256 words; the counts of a histogram (histogram.go: ``timeHistogram``, of one size up to 1.19, and of
#: another since 1.20); counts by size class (one class more since 1.16); pointers to the parts of a map; a slice (pointer, length, capacity); an interface (type, value); bytes that the
#: reader decodes.
_SHAPES = {
    "number": re.compile(r"[iu][1248]"),
    "float": re.compile(r"f8"),
    "ring": re.compile(r"\(256,\)u8"),
    "pointer array": re.compile(r"\((1|64),\)u8"),
    "classes": re.compile(r"\((67|68),\)u8"),
    "counts": re.compile(r"\((720|160),\)u8|V1280"),
    "slice": re.compile(r"\(3,\)u8"),
    "interface": re.compile(r"\(2,\)u8"),
    "bytes": re.compile(r"V[1-9][0-9]{0,6}"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is read: `name`, `older` names, `shape`, and whether a struct may lack it."""

    name: str
    older: tuple[str, ...] = ()
    shape: str = "number"
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.older)

    def fits(self, numpy_format: str) -> bool:
        """Whether a field of this format can be used as this one."""
        return _SHAPES[self.shape].fullmatch(numpy_format) is not None


def _need(name: str, *older: str, shape: str = "number") -> Field:
    return Field(name, older, shape)


def _may(name: str, *older: str, shape: str = "number") -> Field:
    return Field(name, older, shape, optional=True)


_G = (
    _need("stack.lo"),
    _need("stack.hi"),
    _need("m"),
    _need("sched.sp"),
    _need("sched.pc"),
    _need("sched.g"),
    _need("sched.lr"),
    _need("syscallsp"),
    _need("syscallpc"),
    _need("atomicstatus"),
    _need("goid"),
    _need("waitsince"),
    _need("waitreason"),
    _need("lockedm"),
    _may("parentGoid"),  # since 1.21
    _may("trackingSeq"),  # since 1.17, counts how often it stopped running
    _need("gopc"),
    _need("startpc"),
    _need("labels"),
    # What it waits for (`spyglass.runtime.waiting`).
    _may("waiting"),
    _may("_defer"),
    _may("timer"),
)

_M = (
    _need("g0"),
    _need("procid"),
    _need("gsignal"),
    _need("curg"),
    _need("p"),
    _need("id"),
    _need("spinning"),
    _need("alllink"),
    _need("lockedg"),
    # In every version, but more goroutines are only marked as moved, or have no stack, without them.
    _may("syscalltick"),
    _may("incgo"),
    _may("vdsoSP"),
    _may("vdsoPC"),
    # Whose samples in C are is known less often without it.
    _may("ncgocall"),
)

_P = (
    _need("id"),
    _need("status"),
    _need("schedtick"),
    _need("syscalltick"),
    _need("m"),
    _need("runqhead"),
    _need("runqtail"),
    _need("runnext"),
    # gList counts its elements since 1.25; a list since 1.12.
    _need("gFree.size", "gFree.n", "gfreecnt"),
    # A slice: of pointers to timers from 1.14 to 1.22, of timerWhen since (time.go).
    _may("timers.heap", "timers", shape="slice"),
)

_SCHEDT = (
    _need("nmidle"),
    _need("mnext"),
    _need("nmfreed"),
    _need("ngsys"),
    _need("npidle"),
    _need("nmspinning"),
    _need("runq.size", "runqsize"),  # gQueue counts its elements since 1.25
    # Dead goroutines: one count of both lists up to 1.24, one each since 1.25.
    _may("gFree.stack.size"),
    _may("gFree.noStack.size"),
    _may("gFree.n", "ngfree"),  # of that name since 1.12
    # uint32, atomic.Bool since 1.20. Every version has it, but behind what 1.18 or 1.19 took out
    # (deferpool, one list for five), so where it is in 1.18 is not known.
    _may("gcwaiting"),
    # What a watch of the scheduler compares (`spyglass.runtime.scheduler.watch`).
    _may("timeToRun.counts", shape="counts"),  # since 1.17
    _may("totalMutexWaitTime"),  # since 1.20
    _may("procresizetime"),
    _may("totaltime"),
)

# mstats.go. Up to 1.15 these are the statistics themselves; 1.16 began to take them apart, and since
# 1.19 what the pacer needs is in gcControllerState and the rest in heapStats.
_MSTATS = (
    _may("heapStats.stats", shape="bytes"),  # since 1.16: three heapStatsDelta, to be added up
    _may("heapStats.gen"),  # with it
    # Up to 1.15; some are still there in 1.18, but not all are kept up to date.
    _may("heap_idle"),
    _may("heap_inuse"),
    _may("heap_released"),
    _may("stacks_inuse"),
    _may("next_gc"),  # up to 1.16
    _need("last_gc_unix"),
    _need("last_gc_nanotime"),
    _need("pause_total_ns"),
    _need("pause_ns", shape="ring"),
    _need("pause_end", shape="ring"),
    _need("numgc"),
    _need("enablegc"),  # true as soon as the program runs
    _may("gc_cpu_fraction", shape="float"),
    # What was mapped for the runtime itself.
    _may("stacks_sys"),
    _may("mspan_sys"),
    _may("mcache_sys"),
    _may("buckhash_sys"),
    _may("gcMiscSys", "gc_sys"),
    _may("other_sys"),
    # Up to 1.16, since then of gcControllerState.
    _may("heap_live"),
    _may("heap_marked"),
)

# mstats.go, since 1.16.
_HEAP_STATS_DELTA = (
    _need("committed"),
    _need("released"),
    _need("inHeap"),
    _need("inStacks"),
    _need("inWorkBufs"),
    _may("inPtrScalarBits"),  # up to 1.24
    _may("largeAlloc"),
    _may("largeFree"),
    _may("smallAllocCount", shape="classes"),
    _may("smallFreeCount", shape="classes"),
)

# mgcpacer.go, mgc.go up to 1.16.
_GC_CONTROLLER = (
    _may("gcPercent"),  # since 1.17; before, a variable of its own, gcpercent
    _may("memoryLimit"),  # since 1.19
    _may("heapGoal"),  # 1.17 and 1.18
    # What heapGoalInternal computes the goal from since 1.19.
    _may("gcPercentHeapGoal"),
    _may("sweepDistMinTrigger"),
    _may("triggered"),
    _may("heapMarked"),  # since 1.17, as heapLive
    _may("heapLive"),
    _may("heapFree"),
    _may("totalAlloc"),
    _may("totalFree"),
    _may("mappedReady"),
)

# symtab.go
_MODULEDATA = (
    _need("types"),
    _need("etypes"),
    _may("gofunc"),  # since 1.18
    _may("data"),
    _may("edata"),
    _may("bss"),
    _may("ebss"),
    _may("next"),
    # A bit for each word of these sections: whether the collector takes it for a pointer.
    _may("gcdatamask.bytedata"),
    _may("gcbssmask.bytedata"),
)

# map.go, up to 1.23; unless chosen otherwise at compile time, maps are of another kind since.
# They matter for pprof labels, which were maps for as long (runtime/pprof/label.go: labelMap).
_HMAP = (
    _need("count"),
    _need("flags"),
    _need("B"),
    _need("buckets"),
    _need("oldbuckets"),
)

# Who waits in a queue; the pointers are in two words since 1.26 (maybeTraceablePtr), of which vu is kept.
_SUDOG = (
    _need("g"),
    _need("next"),
    _need("elem.vu", "elem"),
    _need("isSelect"),
    _need("waitlink"),
    _need("c.maybeTraceablePtr.vu", "c"),
    _need("ticket"),
)

# chan.go
_HCHAN = (
    _need("qcount"),
    _need("dataqsiz"),
    _need("closed"),
    _need("elemtype"),
    _need("recvq.first"),
    _need("sendq.first"),
    _may("timer"),  # since 1.23: what feeds the channel of a time.Timer
)

# netpoll.go
_POLL_DESC = (
    _need("fd"),
    _need("rg"),
    _need("wg"),
    _need("rd"),
    _need("wd"),
    _may("self"),  # since 1.15
)

# time.go
_TIMER = (
    _need("when"),
    _need("f"),
    _need("arg", shape="interface"),
    # From 1.14 to 1.22: whether it will fire, and when if it was set anew.
    _may("nextwhen"),
    _may("status"),
    _may("isFake"),  # since 1.24: of a synctest bubble, whose time is its own
)

# time.go, since 1.23: an entry of a P's heap of timers.
_TIMER_WHEN = (_may("timer"),)

_DEFER = (
    _need("sp"),
    _need("fn"),
    _need("link"),
    _may("siz"),  # up to 1.17: how many bytes of arguments follow
    _may("openDefer"),  # 1.14 to 1.21
)

# mheap.go
_MSPAN = (
    _need("startAddr"),
    _need("npages"),
    _need("nelems"),
    _need("elemsize"),
    _need("spanclass"),
    _need("state"),
    _need("specials"),
    # How much of it is used, and where its bitmap is (`spyglass.runtime.heap`).
    _may("allocCount"),
    _may("sweepgen"),
    _may("allocBits"),
    _may("freeindex"),
    _may("largeType"),  # since 1.22
)
_MHEAP = (
    _need("allspans", shape="slice"),
    _may("heapArenas", "allArenas", shape="slice"),
    _may("arenas", shape="pointer array"),
    _may("sweepgen"),
    _may("spanalloc.inuse"),
    _may("cachealloc.inuse"),
)
_SPECIAL = (
    _need("next"),
    _need("offset"),
)

#: The structs by name, without "runtime.".
STRUCTS: dict[str, tuple[Field, ...]] = {
    "g": _G,
    "m": _M,
    "p": _P,
    "schedt": _SCHEDT,
    "moduledata": _MODULEDATA,
    "mstats": _MSTATS,
    "heapStatsDelta": _HEAP_STATS_DELTA,
    "gcControllerState": _GC_CONTROLLER,
    "hmap": _HMAP,
    "sudog": _SUDOG,
    "hchan": _HCHAN,
    "pollDesc": _POLL_DESC,
    "timer": _TIMER,
    "timerWhen": _TIMER_WHEN,
    "_defer": _DEFER,
    "mspan": _MSPAN,
    "mheap": _MHEAP,
    "special": _SPECIAL,
}


def limit_headroom_percent(version: tuple[int, int] | None) -> int:
    """How much of the heap goal that the memory limit allows is left free, beside 1 MiB at least.

    Only a constant in mgcpacer.go tells: ``memoryLimitHeapGoalHeadroomPercent`` since 1.21, before it the
    1 MiB alone (``memoryLimitHeapGoalHeadroom``). `version` is (1, 21) or the like, None the newest.
    """
    return 0 if version is not None and version < (1, 21) else 3


def has_generic_methods(version: tuple[int, int] | None) -> bool:
    """Whether names can have brackets twice: methods with type parameters of their own since 1.27.

    Up to 1.26 ``funcNamePiecesForPrint`` (traceback.go) left out all from the first to the last bracket.
    """
    return version is None or version >= (1, 27)


def passes_in_registers(version: tuple[int, int] | None, arch: str) -> bool:
    """Whether Go's calls pass arguments in registers: nothing in memory tells
    (``internal/buildcfg: RegabiArgs``). `version` is (1, 21) or the like, None the newest."""
    return version is None or version >= ((1, 18) if arch == "arm64" else (1, 17))
