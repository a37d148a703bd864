"""Compares a snapshot with what the program says of itself."""

from __future__ import annotations

from collections.abc import Iterable

from spyglass.model import Goroutine
from tests.traceback_text import TextFrame, TextGoroutine

__all__ = ["disagreements"]


_Place = tuple[str, str | None, int | None]


def disagreements(
    snapshot: Iterable[Goroutine],
    said: Iterable[TextGoroutine],
    moving: Iterable[int] = (),
    whole: bool = False,
) -> list[str]:
    """What the goroutines that were `said` and those of `snapshot` differ in, a line each.

    Goroutines whose ids are in `moving` are known to do something else while they speak. `whole`: the
    program showed what it hides by default too (GOTRACEBACK=system): its system goroutines and frames.
    """
    ours = {goroutine.id: goroutine for goroutine in snapshot if whole or not goroutine.system}
    theirs = {goroutine.id: goroutine for goroutine in said if goroutine.id}
    found = [f"only in the snapshot: {ours[i]}" for i in sorted(ours.keys() - theirs.keys())]
    found += [f"only in the program: {theirs[i]}" for i in sorted(theirs.keys() - ours.keys())]
    for goid in sorted((ours.keys() & theirs.keys()) - set(moving)):
        found += [
            f"goroutine {goid}: {line}" for line in _differences(ours[goid], theirs[goid], whole)
        ]
    return found


def _differences(ours: Goroutine, theirs: TextGoroutine, whole: bool) -> Iterable[str]:
    for what, mine, its in (
        ("state", ours.wait_reason or ours.status, theirs.state),
        ("locked", ours.locked_to_thread, theirs.locked_to_thread),
        ("created by", _created_by(ours, whole), _said_created_by(theirs)),
        ("creator", _creator_id(ours, whole), theirs.creator_id),
        ("stack", _as_elided(_stack(ours, whole), theirs), _said_stack(theirs)),
    ):
        if mine != its:
            yield f"{what}: {mine} where the program says {its}"
    where = ours.where and (ours.where.function, ours.where.file, ours.where.line)
    if where is None and not all(_in_runtime(frame) for frame in theirs.frames):
        yield f"no first frame outside the runtime, but the program shows {theirs.frames}"
    if where is not None and where not in _said_stack(theirs):
        yield f"where: {where} is not a frame that the program shows"


def _in_runtime(frame: TextFrame) -> bool:
    return "runtime" in frame.file.split("/")[:-1]


def _created_by(goroutine: Goroutine, whole: bool) -> _Place | None:
    frame = goroutine.created_by
    return (
        None
        if frame is None or (frame.hidden and not whole)
        else (frame.function, frame.file, frame.line)
    )


def _creator_id(goroutine: Goroutine, whole: bool) -> int | None:
    return goroutine.creator_id if _created_by(goroutine, whole) else None


def _said_created_by(goroutine: TextGoroutine) -> _Place | None:
    frame = goroutine.created_by
    return None if frame is None else (frame.function, frame.file, frame.line)


def _stack(goroutine: Goroutine, whole: bool) -> list[_Place]:
    frames = goroutine.stack or ()
    return [(f.function, f.file, f.line) for f in frames if whole or not f.hidden]


def _as_elided(stack: list[_Place], said: TextGoroutine) -> list[_Place]:
    """What the runtime prints of a deep stack: 50 frames at each end and how many it left out; before
    Go 1.21 the first 100, hidden ones counted, without a word (``runtime/traceback.go: traceback2``)."""
    count = len(said.frames)
    if said.elided:
        return stack[:50] + stack[-50:]
    return stack[:count] if 90 < count <= 100 else stack


def _said_stack(goroutine: TextGoroutine) -> list[_Place]:
    """Its frames; ``runtime.gopanic`` is printed as "panic" (``printFuncName``)."""
    names = {"panic": "runtime.gopanic"}
    return [(names.get(f.function, f.function), f.file, f.line) for f in goroutine.frames]
