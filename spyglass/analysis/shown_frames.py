"""What of a stack a person is shown."""

from __future__ import annotations

from spyglass.model import NONE, Snapshot

__all__ = ["shown_frames"]


def shown_frames(snapshot: Snapshot, stack: int, *, runtime_frames: bool = False) -> list[int]:
    """The numbers of the frames of `stack` that Go's traceback shows; all, if that were none.

    `NONE` stands where frames were left out of a deep stack, `Snapshot.elided`.
    """
    low, high = snapshot.stack_offsets[stack : stack + 2]
    numbers: list[int] = snapshot.stack_frames[low:high].tolist()
    if stack in snapshot.elided:
        numbers.insert(snapshot.elided[stack][0], NONE)
    if runtime_frames:
        return numbers
    frames = snapshot.frames
    shown = [number for number in numbers if number == NONE or not frames[number].hidden]
    if shown and shown[0] != NONE and frames[shown[0]].function == "runtime.gopanic":
        del shown[0]  # it only parts deferred calls from what panicked (`showfuncinfo`)
    return shown if any(number != NONE for number in shown) else numbers
