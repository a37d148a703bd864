"""Every field of the Go runtime that spyglass relies on, declared once.

A field is called what the newest Go calls it; the path of a nested one has dots ("sched.pc"). Names
behind it are what older versions called the same thing, newest first; of several the first that is there
in the right shape counts, for a member may keep its name and become a struct. Nobody else knows an older
name or compares versions: a field that some versions lack is optional, and who uses it asks whether it is
there. Read in ``src/runtime`` of Go 1.12 to 1.27 (runtime2.go unless another file is named).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["STRUCTS", "Field", "has_generic_methods", "limit_headroom_percent"]

#: What a field must look like to be used: a number or pointer; a slice as pointer, length, capacity; a
#: string or interface as two words; an array of 256 words; bytes that the user cuts up himself.
_SHAPES = {
    "number": re.compile(r"[iu][1248]"),
    "slice": re.compile(r"\(3,\)u8"),
    "pair": re.compile(r"\(2,\)u8"),
    "ring": re.compile(r"\(256,\)u8"),
    "bytes": re.compile(r"V[1-9][0-9]{0,6}"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is needed: `name`, `older` names, `shape`, and whether some versions lack it."""

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
    _need("_panic"),
    _need("_defer"),
    _need("m"),
    _need("sched.sp"),
    _need("sched.pc"),
    _need("sched.g"),
    _need("sched.ctxt"),
    _need("sched.lr"),
    _need("sched.bp"),
    _need("syscallsp"),
    _need("syscallpc"),
    _may("syscallbp"),  # since 1.23
    _need("stktopsp"),
    _need("param"),
    _need("atomicstatus"),
    _need("goid"),
    _need("schedlink"),
    _need("waitsince"),
    _need("waitreason"),
    _need("preempt"),
    _may("asyncSafePoint"),  # since 1.14, asynchronous preemption
    _may("parkingOnChan"),  # since 1.15
    _need("lockedm"),
    _need("sig"),
    _may("parentGoid"),  # since 1.21
    _may("trackingSeq"),  # since 1.17, counts how often it stopped running
    _need("gopc"),
    _may("ancestors"),  # since 1.11
    _need("startpc"),
    _need("racectx"),
    _need("waiting"),
    _need("labels"),
    _need("timer"),
    _may("sleepWhen"),  # since 1.23, when timers became garbage collected
    _may("coroarg"),  # since 1.22
    _may("bubble", "syncGroup"),  # testing/synctest: since 1.24, renamed in 1.25
)

_M = (
    _need("g0"),
    _need("procid"),
    _need("gsignal"),
    _need("curg"),
    _need("p"),
    _need("nextp"),
    _may("oldp"),  # since 1.12
    _need("id"),
    _need("mallocing"),
    _need("throwing"),
    _need("locks"),
    _need("dying"),
    _need("spinning"),
    _need("blocked"),
    _need("incgo"),
    _may("isextra"),  # since 1.21
    _may("isExtraInC"),  # since 1.21
    _need("ncgocall"),
    _need("ncgo"),
    _need("alllink"),
    _need("lockedg"),
    _need("lockedExt"),
    _need("lockedInt"),
    _need("freelink"),
    _need("syscalltick"),
    _need("libcallpc"),
    _need("libcallsp"),
    _need("vdsoSP"),
    _need("vdsoPC"),
)

_P = (
    _need("id"),
    _need("status"),
    _need("link"),
    _need("schedtick"),
    _need("syscalltick"),
    _need("m"),
    _need("runqhead"),
    _need("runqtail"),
    _need("runq", shape="ring"),
    _need("runnext"),
    _need(
        "gFree.size", "gFree.n", "gfreecnt"
    ),  # gList counts its elements since 1.25; a list since 1.12
)

_SCHEDT = (
    _need("goidgen"),
    _need("nmidle"),
    _need("nmidlelocked"),
    _need("mnext"),
    _need("maxmcount"),
    _need("nmsys"),
    _need("nmfreed"),
    _need("ngsys"),
    _need("npidle"),
    _need("nmspinning"),
    _need("runq.head", "runqhead"),  # gQueue since 1.12
    _need("runq.tail", "runqtail"),
    _need("runq.size", "runqsize"),  # gQueue counts its elements since 1.25
    # Dead goroutines: one count of both lists up to 1.24, one each since 1.25.
    _may("gFree.stack.size"),
    _may("gFree.noStack.size"),
    _may("gFree.n", "ngfree"),  # of that name since 1.12
    # uint32, atomic.Bool since 1.20. Every version has it, but behind what 1.18 or 1.19 took out
    # (deferpool, one list for five), so where it is in 1.18 is not known.
    _may("gcwaiting"),
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
    _need("pause_total_ns"),
    _need("pause_ns", shape="ring"),
    _need("numgc"),
    _need("enablegc"),  # true as soon as the program runs
)

# mstats.go, since 1.16.
_HEAP_STATS_DELTA = (
    _need("committed"),
    _need("released"),
    _need("inHeap"),
    _need("inStacks"),
    _need("inWorkBufs"),
    _may("inPtrScalarBits"),  # up to 1.24
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
    _may("heapMarked"),
    _may("heapInUse"),
    _may("heapReleased"),
    _may("heapFree"),
    _may("totalAlloc"),
    _may("totalFree"),
    _may("mappedReady"),
)

# symtab.go
_MODULEDATA = (
    _may("pcHeader"),  # since 1.16, with the four below
    _may("funcnametab", shape="slice"),
    _may("cutab", shape="slice"),
    _need("filetab", shape="slice"),
    _may("pctab", shape="slice"),
    _need("pclntable", shape="slice"),
    _need("ftab", shape="slice"),
    _need("findfunctab"),
    _need("minpc"),
    _need("maxpc"),
    _need("text"),
    _need("etext"),
    _need("noptrdata"),
    _need("enoptrdata"),
    _need("data"),
    _need("edata"),
    _need("bss"),
    _need("ebss"),
    _need("noptrbss"),
    _need("enoptrbss"),
    _need("end"),
    _need("types"),
    _may("typedesclen"),  # since 1.27
    _need("etypes"),
    _may("rodata"),  # since 1.18
    _may("gofunc"),  # since 1.18
    _may("epclntab"),  # since 1.26
    _need("textsectmap", shape="slice"),
    _may("typelinks", shape="slice"),  # up to 1.26
    _need("pluginpath", shape="pair"),
    _need("modulename", shape="pair"),
    _need("next"),
)

_SUDOG = (
    _need("g"),
    _need("next"),
    _need("prev"),
    _need("elem", "elem.vu"),  # maybeTraceablePtr since 1.26; its vu is "source of truth"
    _need("acquiretime"),
    _need("releasetime"),
    _need("ticket"),
    _need("isSelect"),
    _may("success"),  # since 1.16
    _need("parent"),
    _need("waitlink"),
    _need("waittail"),
    _need("c", "c.maybeTraceablePtr.vu"),  # maybeTraceableChan since 1.26
)

# chan.go
_HCHAN = (
    _need("qcount"),
    _need("dataqsiz"),
    _need("buf"),
    _need("elemsize"),
    _need("closed"),
    _may("timer"),  # since 1.23
    _need("elemtype"),
    _need("sendx"),
    _need("recvx"),
    _need("recvq.first"),
    _need("recvq.last"),
    _need("sendq.first"),
    _need("sendq.last"),
)

_PANIC = (
    _need("arg", shape="pair"),
    _need("link"),
    _may("pc"),  # 1.14 to 1.21, and since 1.27 (of another frame)
    _may("sp"),  # since 1.14
    _need("recovered"),
    _may("goexit"),  # since 1.14
)

_DEFER = (
    _may("heap"),  # since 1.13
    _need("sp"),
    _need("pc"),
    _need("fn"),
    _need("link"),
)

# map.go, up to 1.23; unless another was asked for at compile time, maps are of another kind since.
# They matter for pprof labels, which were maps for as long (runtime/pprof/label.go: labelMap).
_HMAP = (
    _need("count"),
    _need("flags"),
    _need("B"),
    _need("buckets"),
    _need("oldbuckets"),
)

#: The structs by name, without "runtime.".
STRUCTS: dict[str, tuple[Field, ...]] = {
    "g": _G,
    "m": _M,
    "p": _P,
    "schedt": _SCHEDT,
    "sudog": _SUDOG,
    "hchan": _HCHAN,
    "_panic": _PANIC,
    "_defer": _DEFER,
    "moduledata": _MODULEDATA,
    "mstats": _MSTATS,
    "heapStatsDelta": _HEAP_STATS_DELTA,
    "gcControllerState": _GC_CONTROLLER,
    "hmap": _HMAP,
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
