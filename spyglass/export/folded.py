"""Folded stacks, one line for each different stack: ``main.main;main.serve;[chan receive] 42``.

The input of flamegraph.pl, inferno and speedscope: frames from the outermost to the innermost with
semicolons between them, a space, and the number of goroutines. The last frame, in brackets, is what the
goroutine waits for, or its status. Frames that Go's traceback hides are left out: the state stands for
those that say how a goroutine waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from spyglass.escape import visible
from spyglass.export.pseudo_frames import WholeStacks, counted, whole_stacks
from spyglass.words.calls import call_text
from spyglass.words.states import quality_mark, state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Frame, Snapshot

__all__ = ["folded_name", "write_folded", "write_lines"]

_BATCH_LINES = 4096


def write_folded(snapshot: Snapshot, stream: BinaryIO, *, runtime_frames: bool = False) -> None:
    """Write the stacks of `snapshot` to `stream`, the most frequent first.

    `runtime_frames`: include the frames that Go hides by default.
    """
    numbers: dict[str, int] = {}
    for line, count in _lines(snapshot, runtime_frames):
        numbers[line] = numbers.get(line, 0) + count
    write_lines(numbers, stream)


def write_lines(values: Mapping[str, int], stream: BinaryIO) -> None:
    """Write a line for each stack of `values`, the largest value first."""
    ordered = iter(sorted(values.items(), key=lambda item: -item[1]))
    while batch := list(islice(ordered, _BATCH_LINES)):
        text = "".join(f"{line} {value}\n" for line, value in batch)
        stream.write(text.encode("utf-8", "backslashreplace"))


def folded_name(frame: Frame) -> str:
    """The name of `frame` in a line."""
    return _in_line(call_text(frame))


def _lines(snapshot: Snapshot, runtime_frames: bool) -> Iterator[tuple[str, int]]:
    """The text of each kind of goroutine, and their number. Texts of different kinds can be equal."""
    g, whole = snapshot.goroutines, whole_stacks(snapshot)
    state_columns = (g.status, g.wait_reason, g.quality)
    counts, rows = counted(snapshot, whole.of_rows, *state_columns)
    stacks = _Stacks(whole, runtime_frames)
    states: dict[tuple[int, int, int], str] = {}
    keys = zip(*(column[rows].tolist() for column in state_columns), strict=True)
    for count, stack, key in zip(counts.tolist(), whole.of_rows[rows].tolist(), keys, strict=True):
        state = states.get(key)
        if state is None:
            status, reason, quality = key
            words = visible(state_at(snapshot, status, reason)) + quality_mark(quality)
            state = states[key] = f"[{_in_line(words)}]"
        yield f"{stacks.text(stack)};{state}", count


class _Stacks:
    """The texts of stacks, outermost frame first."""

    def __init__(self, whole: WholeStacks, runtime_frames: bool) -> None:
        self._names = [folded_name(frame) for frame in whole.frames]
        numbers, offsets = whole.stack_frames, whole.offsets
        if not runtime_frames:
            numbers, offsets = _shown(whole)
        self._numbers, self._offsets = numbers.tolist(), offsets.tolist()

    def text(self, stack: int) -> str:
        """The frames of `stack`."""
        low, high = self._offsets[stack], self._offsets[stack + 1]
        return ";".join(map(self._names.__getitem__, reversed(self._numbers[low:high])))


def _shown(whole: WholeStacks) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Frames and offsets of the stacks with what Go's traceback shows; all frames if those were none."""
    is_shown = np.array([not frame.hidden for frame in whole.frames], np.bool_)[whole.stack_frames]
    lengths = np.diff(whole.offsets)
    shown_before = np.concatenate([[0], np.cumsum(is_shown)])
    is_bare = np.diff(shown_before[whole.offsets]) == 0
    is_shown |= np.repeat(is_bare, lengths)
    shown_before = np.concatenate([[0], np.cumsum(is_shown)])
    return whole.stack_frames[is_shown], shown_before[whole.offsets]


def _in_line(name: str) -> str:
    """`name` without the character that separates frames (``struct { a int; b int }``)."""
    return name.replace(";", ":")
