"""A profile of waiting goroutines and one of running ones, as one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spyglass.model import NONE
from spyglass.profile import Profile, Samples

__all__ = ["merged", "on_goroutines"]

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
    in_call = np.isin(profile.stack_frames, np.array(calls, np.int64))
    ends = np.concatenate([[0], np.cumsum(in_call)])
    calling = ends[profile.stack_offsets[1:]] > ends[profile.stack_offsets[:-1]]
    samples = profile.samples
    has_owner = (samples.goroutine != NONE) | np.isin(samples.state, running)
    found: NDArray[np.bool_] = has_owner & ~calling[samples.stack]
    return found


def merged(
    profile: Profile, running: Profile, rows: NDArray[np.bool_], running_ns: float
) -> Profile:
    """`profile` with `rows` of `running`, and its account; these rows stand for `running_ns` if that is more than
    the processor time they were sampled for."""
    frames, which_frame = _united(profile.frames, running.frames)
    sets, which_set = _united(
        [tuple(each.items()) for each in profile.label_sets],
        [tuple(each.items()) for each in running.label_sets],
    )
    states, _ = _united(profile.states, [_RUNNING])
    first, more = profile.samples, running.samples
    labels, sampled_ns = more.labels[rows], more.value_ns[rows]
    parts = {
        "stack": more.stack[rows] + np.int32(len(profile.stack_offsets) - 1),
        "count": more.count[rows],
        "value_ns": np.rint(sampled_ns * max(running_ns / max(sampled_ns.sum(), 1), 1)),
        "goroutine": more.goroutine[rows],
        "labels": np.where(labels >= 0, np.append(which_set, NONE)[labels], NONE),
        "state": np.full(int(rows.sum()), states.index(_RUNNING)),
        "thread": more.thread[rows],
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
    offsets = profile.stack_offsets[-1] + running.stack_offsets[1:]
    return replace(
        profile,
        account=account,
        samples=samples,
        frames=tuple(frames),
        stack_offsets=np.concatenate([profile.stack_offsets, offsets]),
        stack_frames=np.concatenate(
            [profile.stack_frames, which_frame[running.stack_frames].astype(np.int32)]
        ),
        states=tuple(states),
        label_sets=tuple(map(dict, sets)),
        problems=tuple(dict.fromkeys([*profile.problems, *running.problems])),
    )


def _united(first: Iterable[Key], more: Iterable[Key]) -> tuple[list[Key], NDArray[np.int64]]:
    """The distinct ones of both, those of `first` in their order, and the place of each of `more`."""
    places = {each: at for at, each in enumerate(first)}
    which = [places.setdefault(each, len(places)) for each in more]
    return list(places), np.array(which, np.int64)
