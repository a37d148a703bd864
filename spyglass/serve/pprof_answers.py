"""The profiles of ``net/http/pprof`` for programs without it: the same parameters and forms, read from outside.

What differs: nothing is run in the process, so ``gc=1`` gives a heap profile as of now instead of a collection; texts (``debug=1``)
have no ``runtime.MemStats``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.profile_frames import is_in_profile
from spyglass.analysis.selection import selected
from spyglass.analysis.site_increase import increase
from spyglass.analysis.subset import subset
from spyglass.escape import visible
from spyglass.formats import exporter
from spyglass.model import NONE, Frame, Snapshot
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.operations import Answer, written
from spyglass.serve.parameters import Parameter, integer
from spyglass.serve.problems import Refusal
from spyglass.words.calls import place_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.inspector import Inspector
    from spyglass.site_profile import SiteProfile

__all__ = ["COUNTED", "DEBUG", "GC", "SITES", "goroutine", "goroutineleak", "sites"]

Values = Mapping[str, Any]
#: A snapshot, and which of its goroutines a profile is of.
_Rows = tuple[Snapshot, "NDArray[np.int64]"]

DEBUG = integer(
    "debug", "0: for go tool pprof; 1: text; 2 (goroutines): as Go's traceback.", 0, 2, default=0
)
GC = integer(
    "gc", "1: as of now, not of the last garbage collection. None is run.", 0, 1, default=0
)
#: Shorter than the time that a request may take.
SECONDS = integer("seconds", "What changed within so many seconds.", 1, 20)
COUNTED: tuple[Parameter, ...] = (DEBUG, SECONDS)
SITES: tuple[Parameter, ...] = (DEBUG, GC, SECONDS)
_BINARY, _TEXT = "application/octet-stream", "text/plain; charset=utf-8"


def goroutine(program: Inspector, values: Values) -> Answer:
    """The goroutines, as the profile "goroutine"."""
    return _goroutines("goroutine", lambda: _all(program), values)


def goroutineleak(program: Inspector, values: Values) -> Answer:
    """The goroutines that nothing can wake, as the profile "goroutineleak" of Go 1.26 and later."""
    return _goroutines("goroutineleak", lambda: _leaked(program), values)


def _all(program: Inspector) -> _Rows:
    taken = program.snapshot("full")
    return taken, selected(taken.goroutines)


def _leaked(program: Inspector) -> _Rows:
    from spyglass.analysis.wait_verdicts import verdicts

    taken = program.snapshot("full", waits=WaitOptions())
    known = verdicts(taken)
    assert known is not None
    return taken, np.flatnonzero(np.isin(taken.goroutines.id, known.ids[known.stuck == 1]))


def _goroutines(name: str, read: Callable[[], _Rows], values: Values) -> Answer:
    debug, seconds = values["debug"], values["seconds"]
    if seconds is None:
        return _counted(name, *read(), debug)
    if debug:
        raise Refusal(400, "seconds and debug cannot be used together")
    from spyglass.export.goroutine_delta import write_goroutine_delta

    before, rows_before = read()
    time.sleep(seconds)
    after, rows_after = read()
    body = written(partial(write_goroutine_delta, before, rows_before, after, rows_after))
    return Answer(body, _BINARY, f"{name}-delta")


def sites(name: str) -> Callable[[Inspector, Values], Answer]:
    """What answers for the profile `name`: heap, allocs, block or mutex."""

    def read(program: Inspector, values: Values) -> Answer:
        debug, seconds = values["debug"], values["seconds"]
        if seconds is not None and debug:
            raise Refusal(400, "seconds and debug cannot be used together")
        if debug == 2:
            raise Refusal(400, "debug: 2 is for goroutines")
        profile = _sites(program, name, values["gc"] == 1, sampled=debug == 1)
        if seconds is not None:
            time.sleep(seconds)
            profile = increase(profile, _sites(program, name, values["gc"] == 1))
        if debug:
            return Answer("".join(_sites_text(name, profile)).encode(), _TEXT)
        first: dict[str, Any] = {"first": "alloc_space"} if name == "allocs" else {}
        body = written(partial(exporter("sites", "pprof").write, profile, **first))
        return Answer(body, _BINARY, name if seconds is None else f"{name}-delta")

    return read


def _sites(program: Inspector, name: str, now: bool, *, sampled: bool = False) -> SiteProfile:
    """The profile; with `sampled`, numbers of a heap profile are those of samples, not what they stand for: readers of the
    text scale them."""
    if name in ("block", "mutex"):
        return program.contention_profile("block" if name == "block" else "mutex")
    profile = program.heap_profile("now" if now else "gc")
    if profile.why_not is not None:
        raise Refusal(501, f"there is no heap profile: {profile.why_not}")
    found = profile.by_site()
    if not sampled:
        return found
    counts = np.stack((profile.sites.allocs, profile.sites.allocs - profile.sites.frees), axis=1)
    sizes = profile.sites.object_bytes[:, np.newaxis]
    amounts = np.stack((counts, counts * sizes), axis=2).reshape(-1, 4)
    return replace(found, amounts=amounts)


def _counted(name: str, taken: Snapshot, rows: NDArray[np.int64], debug: int) -> Answer:
    if debug == 2:
        from spyglass.render.traceback import traceback

        return Answer("".join(traceback(taken, rows)).encode(), _TEXT)
    if debug == 1:
        return Answer("".join(_count_text(name, taken, rows)).encode(), _TEXT)
    body = written(partial(exporter("snapshot", "pprof").write, subset(taken, rows)))
    return Answer(body, _BINARY, name)


def _count_text(name: str, taken: Snapshot, rows: NDArray[np.int64]) -> Iterator[str]:
    """The text of ``runtime/pprof/pprof.go: printCountProfile``."""
    yield f"{name} profile: total {len(rows)}\n"
    g = taken.goroutines
    pairs = np.stack((g.stack[rows], g.labels[rows]), axis=1)
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    for at in np.argsort(-counts, kind="stable").tolist():
        stack, labels = kinds[at].tolist()
        frames = _shown(taken, stack)
        yield f"{counts[at]} @{_addresses(frames)}\n"
        if labels >= 0:
            yield f"# labels: {json.dumps(dict(taken.label_sets[labels]), separators=(', ', ':'))}\n"
        yield from _stack_lines(frames)


def _shown(taken: Snapshot, stack: int) -> list[Frame]:
    if stack == NONE:
        return []
    low, high = taken.stack_offsets[stack : stack + 2].tolist()
    frames = (taken.frames[each] for each in taken.stack_frames[low:high].tolist())
    return [each for each in frames if is_in_profile(each)]


def _sites_text(name: str, profile: SiteProfile) -> Iterator[str]:
    """The text of ``runtime/pprof/pprof.go``: `writeHeapInternal`, `writeProfileInternal`."""
    amounts, is_heap = profile.amounts, profile.kind == "heap"
    totals = amounts.sum(axis=0).tolist()
    if is_heap:
        allocs, alloc_bytes, objects, in_use = totals
        # Equal ones would be taken for a form of two columns.
        alloc_bytes += alloc_bytes == in_use
        yield f"heap profile: {objects}: {in_use} [{allocs}: {alloc_bytes}] @ heap/{2 * profile.period}\n"
    else:
        yield f"--- {'contention' if name == 'block' else name}:\ncycles/second=1000000000\n"
        yield f"sampling period={profile.period}\n" if name == "mutex" else ""
    for row in np.argsort(-amounts[:, profile.main_kind], kind="stable").tolist():
        frames = [profile.frames[each] for each in profile.frames_of(int(profile.stack[row]))]
        frames = [each for each in frames if is_in_profile(each)]
        values = amounts[row].tolist()
        if is_heap:
            yield f"{values[2]}: {values[3]} [{values[0]}: {values[1]}] @{_addresses(frames)}\n"
        else:
            yield f"{values[1]} {values[0]} @{_addresses(frames)}\n"
        yield from _stack_lines(frames)


def _addresses(frames: list[Frame]) -> str:
    return "".join(f" {frame.pc:#x}" for frame in frames if not frame.inlined)


def _stack_lines(frames: list[Frame]) -> Iterator[str]:
    """The lines of ``runtime/pprof/pprof.go: printStackRecord``, and an empty one."""
    pc, offset = 0, None
    lines = []
    for frame in reversed(frames):  # a call that was inlined is in the function of the next one
        if not frame.inlined:
            pc, offset = frame.pc, frame.offset
        within = "" if not offset else f"+{offset - 1:#x}"
        lines.append(f"#\t{pc - 1:#x}\t{visible(frame.function)}{within}\t{place_text(frame)}\n")
    yield from reversed(lines)
    yield "\n"
