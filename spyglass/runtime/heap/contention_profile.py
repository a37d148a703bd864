"""The block and mutex profiles of a program, from outside.

Knowledge: ``runtime/mprof.go`` (``blockevent``, ``mutexevent``, ``saveblockevent``, ``SetBlockProfileRate``),
``runtime/runtime.go`` (``ticks``), ``runtime/pprof/pprof.go`` (``printCountCycleProfile``, and ``scaleMutexProfile`` up
to Go 1.19).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from spyglass.errors import MemoryFault, MissingInfo
from spyglass.model import NONE
from spyglass.runtime.discovery.fingerprints import scan
from spyglass.runtime.heap.buckets import BLOCK, MUTEX, Contentions, kind_of, read_contentions
from spyglass.runtime.heap.sampled_stacks import SampledStacks
from spyglass.site_profile import SiteProfile, ValueKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Process
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.stacks.symbolizer import Symbolizer
    from spyglass.targets import Target

__all__ = ["ContentionKind", "read_contention_profile"]

ContentionKind = Literal["block", "mutex"]


class _Names(NamedTuple):
    """What the runtime calls the parts of a profile of one kind."""

    bucket: int
    list: str
    rate: str
    events: tuple[str, ...]
    switch: str


#: ``blocksampled`` is a function of its own in some versions; ``mutexevent`` is another package's up to Go 1.26.
_NAMES = {
    "block": _Names(
        BLOCK, "bbuckets", "blockprofilerate", ("runtime.blockevent", "runtime.blocksampled"),
        "SetBlockProfileRate",
    ),
    "mutex": _Names(
        MUTEX, "xbuckets", "mutexprofilerate", ("runtime.mutexevent", "sync.event"),
        "SetMutexProfileFraction",
    ),
}  # fmt: skip
_TICKS = ("runtime.ticksPerSecond", "runtime.tickspersecond")
#: ``ticks.val`` is the last field of ``ticks``, whose first is a lock.
_MAX_TICKS_BYTES = 24
_MIN_TICKS, _MAX_TICKS = 10**6, 10**11
#: Rates above are none: one event in as many, or ticks of a day.
_MAX_RATE = 1 << 50
_CONTENTIONS, _DELAY = ValueKind("contentions", "count"), ValueKind("delay", "nanoseconds")
_IN_TICKS = ValueKind("delay", "ticks")


def read_contention_profile(
    target: Target,
    runtime: Runtime,
    code: Symbolizer,
    process: Process,
    taken_at: datetime,
    kind: ContentionKind,
) -> SiteProfile:
    """The profile of `kind` of `target`. Raises `MissingInfo` or `BadDataError` if it cannot be found."""
    names, places = _NAMES[kind], _Places(target, runtime)
    rate = places.rate(names)
    found = read_contentions(runtime.memory, places.first_bucket(names.bucket), names.bucket)
    if found.rejected or not found.complete:
        detail = f"{found.rejected} samples have another hash than their stack"
        runtime.problem("implausible", f"{kind} profile", detail)
    ticks = places.ticks_per_second()
    stacks = SampledStacks(code)
    numbers = stacks.add_all(found.stacks, found.offsets)
    offsets, frames = stacks.columns()
    runtime.note_exhausted()
    return SiteProfile(
        kind=kind, process=process, taken_at=taken_at,
        kinds=(_CONTENTIONS, _DELAY if ticks else _IN_TICKS),
        amounts=_amounts(found, kind, 1 if _scales(runtime) else max(rate, 1), ticks),
        stack=numbers, object_bytes=np.full(len(numbers), NONE, np.int64),
        frames=tuple(code.frames), stack_offsets=offsets, stack_frames=frames,
        period_kind=_CONTENTIONS, period=1, remark=_remark(kind, rate, names, runtime, ticks),
        problems=tuple(runtime.problems),
    )  # fmt: skip


def _amounts(
    found: Contentions, kind: ContentionKind, factor: int, ticks: int | None
) -> NDArray[np.int64]:
    """Events and their time in ns, or in ticks where it is not known how long these are."""
    counts, time = found.count, found.ticks.astype(np.float64)
    if ticks:
        time = time / (ticks / 1e9)
    if kind == "mutex":
        return np.stack([counts * factor, (time * factor).astype(np.int64)], axis=1)
    return np.stack([np.maximum(counts, 1), time.astype(np.int64)], axis=1)


def _scales(runtime: Runtime) -> bool:
    """Whether the runtime itself multiplies what it saw of locks by the rate; else ``runtime/pprof`` does."""
    functions = runtime.functions
    if functions.named("runtime.(*unwinder).next") is not None:  # since Go 1.21
        return True
    pprof = functions.named("runtime/pprof.writeMutex") is not None
    return pprof and functions.named("runtime/pprof.scaleMutexProfile") is None


def _remark(
    kind: ContentionKind, rate: int, names: _Names, runtime: Runtime, ticks: int | None
) -> str:
    if not rate:
        words = f"{kind} profile is off: runtime.{names.switch} is not in effect"
        if kind == "block" and runtime.functions.named(f"runtime.{names.switch}") is None:
            words = f"{kind} profile is off: the program has no call of runtime.{names.switch}"
        return words
    each = "every event" if rate == 1 else f"one event in {rate:,}"
    if kind == "block":
        length = f"{rate / ticks * 1e9:,.0f} ns" if ticks else f"{rate:,} ticks"
        each = "every event" if rate == 1 else f"events of {length}, and some of shorter ones"
    unknown = "" if ticks else "; the program has not measured how long a tick is yet"
    return f"{kind} profile since the program started, of {each}{unknown}"


class _Places:
    """The variables of these profiles: from symbols, else from what the code of some functions mentions."""

    def __init__(self, target: Target, runtime: Runtime) -> None:
        self._target, self._runtime = target, runtime
        names = [event for each in _NAMES.values() for event in each.events]
        names += ["runtime.stkbucket", *_TICKS]
        self._mentions = scan(names, runtime.functions, target.code, runtime.arch)

    def rate(self, names: _Names) -> int:
        """How seldom events are sampled; 0: none is."""
        values = [self._word(each) for each in self._of(names.rate, *names.events)]
        known = [each for each in values if each is not None and each < _MAX_RATE]
        if len(known) != 1:
            raise MissingInfo(f"runtime.{names.rate} could not be found in this program")
        return known[0]

    def first_bucket(self, kind: int) -> int:
        """The first bucket of `kind`; 0: there is none."""
        names = {each.bucket: each.list for each in _NAMES.values()}
        places = self._of(names[kind], "runtime.stkbucket")
        if not places:
            raise MissingInfo(f"runtime.{names[kind]} could not be found in this program")
        for place in places:
            first = self._word(place)
            if first and kind_of(self._runtime.memory, first) == kind:
                return first
        return 0

    def ticks_per_second(self) -> int | None:
        """``ticks.val``, the frequency of the clock that waits are measured with; None: not measured yet."""
        symbol = self._target.executable.symbol_range("runtime.ticks")
        if symbol is not None:
            places = [symbol[0] + self._target.bias + symbol[1] - 8]
        else:
            mentioned = self._mentioned(*_TICKS)
            ends = [_last_within(mentioned, place + _MAX_TICKS_BYTES) for place in mentioned]
            places = [end for end, place in zip(ends, mentioned, strict=True) if end > place]
        values = [self._word(each) for each in places]
        good = {each for each in values if each and _MIN_TICKS <= each <= _MAX_TICKS}
        return good.pop() if len(good) == 1 else None

    def _of(self, variable: str, *functions: str) -> Sequence[int]:
        symbol = self._target.executable.symbol(f"runtime.{variable}")
        if symbol is not None:
            return [symbol + self._target.bias]
        return self._mentioned(*functions)

    def _mentioned(self, *functions: str) -> list[int]:
        return sorted(set[int]().union(*(self._mentions.get(each, set()) for each in functions)))

    def _word(self, address: int) -> int | None:
        try:
            return self._runtime.memory.u64(address)
        except MemoryFault:
            return None


def _last_within(places: Sequence[int], most: int) -> int:
    return max(each for each in places if each <= most)
