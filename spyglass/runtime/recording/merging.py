"""A profile of waiting goroutines and one of running ones, as one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spyglass.columns import numbered
from spyglass.model import NONE, Frame
from spyglass.profile import Profile, Samples

__all__ = ["NO_STACK", "merged", "on_goroutines", "stacks_with"]

#: The frame of a goroutine whose stack could not be read, or was of several moments.
NO_STACK = Frame("[stack not known]", None, None, 0)

#: Through these a goroutine makes system calls that the runtime knows of, and calls C: while it is in one, its status
#: is syscall, and readings count it (``syscall/syscall_linux.go``, ``runtime/cgocall.go``).
_SYSTEM_CALLS = frozenset({"syscall.Syscall", "syscall.Syscall6", "runtime.cgocall"})
#: In the names of the functions that cgo makes for those of C (``cmd/cgo/out.go: writeDefsFunc``). Up to Go 1.20 the
#: call chain of a sample in C does not have ``runtime.cgocall``.
_OF_CGO = "._Cfunc_"
_RUNNING = "running"

Key = TypeVar("Key", bound=Hashable)


def on_goroutines(profile: Profile) -> NDArray[np.bool_]:
    """Which rows of `profile`, of processor time, are of goroutines that run, not of system calls, C, or the
    scheduler."""
    running = [number for number, word in enumerate(profile.states) if word == _RUNNING]
    names = [frame.function for frame in profile.frames]
    calls = [at for at, name in enumerate(names) if name in _SYSTEM_CALLS or _OF_CGO in name]
    calling = stacks_with(profile, calls)
    samples = profile.samples
    has_owner = (samples.goroutine != NONE) | np.isin(samples.state, running)
    found: NDArray[np.bool_] = has_owner & ~calling[samples.stack]
    return found


def stacks_with(profile: Profile, frames: Sequence[int]) -> NDArray[np.bool_]:
    """Which stacks of `profile` have one of `frames`."""
    is_one = np.isin(profile.stack_frames, np.array(frames, np.int64))
    ends = np.concatenate([[0], np.cumsum(is_one)])
    found: NDArray[np.bool_] = ends[profile.stack_offsets[1:]] > ends[profile.stack_offsets[:-1]]
    return found


def merged(
    profile: Profile, running: Profile, rows: NDArray[np.bool_], running_ns: Mapping[int, float]
) -> Profile:
    """`profile` with `rows` of `running`, and its account. Of each goroutine they stand for its `running_ns` if
    that is more than the processor time they were sampled for; what was not sampled has no stack."""
    frames, which_frame = _united(profile.frames, [*running.frames, NO_STACK])
    sets, which_set = _united(
        [tuple(each.items()) for each in profile.label_sets],
        [tuple(each.items()) for each in running.label_sets],
    )
    states, _ = _united(profile.states, [_RUNNING])
    first, more = profile.samples, running.samples
    labels, goroutine = more.labels[rows], more.goroutine[rows]
    values_ns, unsampled = _shared_out(goroutine, more.value_ns[rows], running_ns)
    behind = np.full(len(unsampled), NONE)
    first_stack = len(profile.stack_offsets) - 1
    no_stack = np.full(len(unsampled), len(running.stack_offsets) - 1)
    parts = {
        "stack": np.append(more.stack[rows], no_stack) + first_stack,
        "count": np.append(more.count[rows], np.zeros(len(unsampled), np.int64)),
        "value_ns": np.rint(np.append(values_ns, [*unsampled.values()])),
        "goroutine": np.append(goroutine, np.array([*unsampled], np.int64)),
        "labels": np.append(
            np.where(labels >= 0, np.append(which_set, NONE)[labels], NONE), behind
        ),
        "state": np.full(len(labels) + len(behind), states.index(_RUNNING)),
        "thread": np.append(more.thread[rows], behind),
    }
    columns = {name: getattr(first, name) for name in parts}
    samples = Samples(
        **{
            name: np.concatenate([column, parts[name].astype(column.dtype)])
            for name, column in columns.items()
        }
    )
    sampled = running.account
    account = replace(
        profile.account,
        samples=int(samples.count.sum()),
        lost=sampled.lost,
        throttled=sampled.throttled,
        cut=sampled.cut,
        cpu_used_ns=sampled.cpu_used_ns,
        cpu_sampled_ns=sampled.cpu_sampled_ns,
        threads_seen=sampled.threads_seen,
        threads_missed=sampled.threads_missed,
    )
    sizes = np.append(np.diff(running.stack_offsets), 1)
    offsets = profile.stack_offsets[-1] + np.cumsum(sizes)
    return replace(
        profile,
        account=account,
        samples=samples,
        frames=tuple(frames),
        stack_offsets=np.concatenate([profile.stack_offsets, offsets]),
        stack_frames=np.concatenate(
            [
                profile.stack_frames,
                which_frame[running.stack_frames].astype(np.int32),
                which_frame[-1:].astype(np.int32),
            ]
        ),
        states=tuple(states),
        label_sets=tuple(map(dict, sets)),
        problems=tuple(dict.fromkeys([*profile.problems, *running.problems])),
    )


def _shared_out(
    goroutine: NDArray[np.int64], sampled_ns: NDArray[np.int64], running_ns: Mapping[int, float]
) -> tuple[NDArray[np.float64], dict[int, float]]:
    """The time of each row of `sampled_ns`, its share of what its `goroutine` ran for; and the times of goroutines
    without a row.

    Samples and readings find different ones of goroutines that live for a short time. So no more is added in all
    than readings found more than samples did.
    """
    ids, which = numbered(goroutine)
    sums = np.bincount(which, sampled_ns, len(ids))
    sampled = dict(zip(ids.tolist(), sums.tolist(), strict=True))
    lacking = {goid: max(ns - sampled.get(goid, 0), 0) for goid, ns in running_ns.items()}
    more_ns = max(sum(running_ns.values()) - sums.sum(), 0)
    share = more_ns / max(sum(lacking.values()), 1)
    factors = [1 + lacking.get(goid, 0) * share / max(ns, 1) for goid, ns in sampled.items()]
    without = {
        goid: ns * share for goid, ns in lacking.items() if goid not in sampled and ns * share >= 1
    }
    return sampled_ns * np.array(factors)[which], without


def _united(first: Iterable[Key], more: Iterable[Key]) -> tuple[list[Key], NDArray[np.int64]]:
    """The distinct ones of both, those of `first` in their order, and the place of each of `more`."""
    places = {each: at for at, each in enumerate(first)}
    which = [places.setdefault(each, len(places)) for each in more]
    return list(places), np.array(which, np.int64)
