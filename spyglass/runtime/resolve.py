"""Which layouts and variables are those of a process: what it is made of decides, not its version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import among
from spyglass.errors import (
    BadDataError,
    MemoryFault,
    MissingInfo,
    TargetError,
    UnsupportedGoVersion,
)
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery import layouts
from spyglass.runtime.discovery.globals import is_wait_reasons
from spyglass.runtime.discovery.layouts import GoVersion, Layouts
from spyglass.runtime.goroutines.decode import fields_of, g_pointers, plausible
from spyglass.runtime.scheduler import sched

if TYPE_CHECKING:
    from spyglass.runtime.discovery.module import Module
    from spyglass.targets import Target

__all__ = ["resolve"]

#: How many goroutines are examined to see whether a layout fits.
_SAMPLE = 512
#: Some of them may change while they are read.
_FITTING = 0.9
#: Number of tries: threads and goroutines come and go while they are read.
_TRIES = 3
_MAX_TYPES_BYTES = 1 << 28
#: A program has at least these before its own code runs (``runtime/proc.go: main, init; mgc.go: gcenable``):
#: the main one, and those that force collections and sweep.
_FIRST_GOROUTINES = 3
#: Up to Go 1.11 inlined calls are recorded in another way (``runtime/symtab.go: inlinedCall``): the line
#: of a call would be shown with the name of the function that it was inlined in.
_OLDEST = GoVersion(1, 12)


def resolve(
    target: Target, module: Module, version: str, places: Mapping[str, list[int]]
) -> Runtime:
    """The runtime of `target`, with the first layouts that fit everything that is checked.

    If none do, with the first that fit its goroutines, less those that do not fit. `places` are the
    addresses at which variables may be. Raises `UnsupportedGoVersion` if nothing fits.
    """
    known = GoVersion.parse(version)
    if known is not None and known < _OLDEST:
        raise UnsupportedGoVersion(
            f"process {target.pid} is of {known}: the oldest version that spyglass reads is {_OLDEST}"
        )
    partly: list[Runtime] = []
    for runtime in _candidate_runtimes(target, module, version, places):
        if not _goroutines_fit(runtime):
            continue
        misfits = _misfits(runtime)
        if not misfits:
            return runtime
        partly.append(_without(runtime, misfits))
    if partly:
        return partly[0]
    _require_goroutines(target, places)
    raise UnsupportedGoVersion(
        f"no known layout fits the runtime of process {target.pid} ({version or 'Go version not recorded'})",
        "please report it with `go version -m` of the program",
    )


def _candidate_runtimes(
    target: Target, module: Module, version: str, places: Mapping[str, list[int]]
) -> Iterator[Runtime]:
    arch, types = target.executable.arch, _types(target, module, version)
    certain = {name: found[0] for name, found in places.items() if len(found) == 1}
    certain |= _wait_reason_place(target, places)
    certain["firstmoduledata"] = module.address
    sources = (target.executable, target.memory, types, target.constant)
    for layout in layouts.candidate_layouts(version, arch, *sources):
        for allgs in places.get("allgs", []):
            known = certain | {"allgs": allgs}
            yield Runtime(target.memory, layout, known, module.functions, arch, version)


def _wait_reason_place(target: Target, places: Mapping[str, list[int]]) -> dict[str, int]:
    found = places.get("waitReasonStrings", [])
    good = [place for place in found if is_wait_reasons(target, place)]
    return {"waitReasonStrings": good[0]} if good else {}


def _types(target: Target, module: Module, version: str) -> tuple[int, int] | None:
    """Where the type descriptors are: from ``moduledata.types`` to ``etypes``, or to the end of what
    holds them, in a version that has something else in its place."""
    certain = (
        layouts.known_fingerprints(version, target.executable.arch) is not None
    )  # the first is its own
    for known in layouts.moduledata_layouts(version, target.executable.arch):
        try:
            row = target.memory.array(module.address, known, 1)[0]
        except MemoryFault:
            continue
        low, high = int(row["types"]), int(row["etypes"])
        for end in (high, _segment_end(target, low)):
            possible = 0 < low < end <= low + _MAX_TYPES_BYTES
            if possible and (certain or _are_types(target, low, end)):
                return low, end
    return None


def _are_types(target: Target, low: int, end: int) -> bool:
    from spyglass.binary.gotypes import GoTypes

    try:
        GoTypes(target.memory, low, end)
    except (BadDataError, MemoryFault, MissingInfo):
        return False
    return True


def _segment_end(target: Target, address: int) -> int:
    """Where the part of the file that `address` is in ends in the process, 0 if it is in none."""
    for segment in target.executable.segments:
        begin = segment.address + target.bias
        if begin <= address < begin + segment.file_size:
            return begin + segment.file_size
    return 0


def _goroutines_fit(runtime: Runtime) -> bool:
    """Whether the goroutines of this process look like goroutines with these layouts."""
    try:
        pointers = g_pointers(runtime)[:_SAMPLE]
        dtype = fields_of(runtime.layouts["g"])
        gathered = runtime.memory.gather(pointers, dtype.itemsize)
    except (BadDataError, MemoryFault, MissingInfo):
        return False
    good = gathered.ok & plausible(pointers, gathered.rows(dtype))
    return len(pointers) > 0 and bool(good.mean() >= _FITTING)


def _misfits(runtime: Runtime) -> list[str]:
    """The structs whose layouts do not fit what is in this process.

    A version's table is made from one of its releases, and others may differ: the ``m`` of Go 1.24.4
    is smaller than that of 1.24.11.
    """
    return [
        name
        for name, fits in _CHECKS.items()
        if name in runtime.layouts and not any(fits(runtime.for_reading()) for _ in range(_TRIES))
    ]


def _threads_fit(runtime: Runtime) -> bool:
    """Whether the list of Ms ends with the first that there was, and what they point to is theirs.

    A few may be new, and have nothing yet (``runtime/proc.go: allocm``).
    """
    if "allm" not in runtime.globals:
        return True
    ms = sched.read_ms(runtime)
    if runtime.problems or not len(ms.rows) or ms.rows["id"][-1] != 0:
        return False
    stacks = runtime.memory.gather(ms.rows["g0"].astype(np.uint64), runtime.layouts["g"].itemsize)
    own = stacks.ok & (stacks.rows(runtime.layouts["g"])["m"] == ms.addresses)
    running = np.concatenate((ms.rows["curg"], ms.rows["lockedg"]))
    known = among(running[running != 0].astype(np.uint64), g_pointers(runtime))
    few = max(1, round(len(own) * (1 - _FITTING)))
    return bool(own[-1] and (~own).sum() <= few and (~known).sum() <= few)


def _processors_fit(runtime: Runtime) -> bool:
    """Whether each P has the number of its place, and a status and a queue that can be."""
    if "allp" not in runtime.globals:
        return True
    return bool(sched.read_processors(runtime, sched.NO_MS)) and not runtime.problems


_CHECKS: dict[str, Callable[[Runtime], bool]] = {"m": _threads_fit, "p": _processors_fit}


def _without(runtime: Runtime, misfits: list[str]) -> Runtime:
    """`runtime` without the layouts of the structs `misfits`, which are not known then."""
    known = runtime.layouts
    structs = {name: dtype for name, dtype in known.structs.items() if name not in misfits}
    reason = f"its layout from {known.source} does not fit this process"
    doubts = {**known.doubts, **dict.fromkeys(misfits, reason)}
    return replace(runtime, layouts=Layouts(known.source, structs, doubts))


def _require_goroutines(target: Target, places: Mapping[str, list[int]]) -> None:
    """`TargetError` if the runtime has not begun to make goroutines, or is about to: then a part of the
    list, or of the first ones, is there already (``runtime/proc.go: allgadd``)."""
    found = places.get("allgs", [])
    for place in found:
        words = target.memory.array(place, "<u8", 3)
        begun = words.all() and words[1] >= _FIRST_GOROUTINES if len(found) == 1 else words.any()
        if not begun:
            raise TargetError(f"process {target.pid} is still starting", "run spyglass again")
