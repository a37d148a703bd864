"""Lines of code (function, file, line) with their numbers.

One line has many frames: each call, and each pc that a stack returns to, is one of its own; and each
snapshot numbers its frames in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import NONE, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CodeLine", "CodeLines", "code_line", "function_numbers"]

CodeLine = tuple[str, str | None, int | None]


def code_line(frame: Frame) -> CodeLine:
    """The line of code that `frame` is in: function, file, line."""
    return frame.function, frame.file, frame.line


class CodeLines:
    """Numbers of lines of code from 0 on, in the order they are first seen; the same in all snapshots."""

    def __init__(self) -> None:
        self._numbers: dict[CodeLine, int] = {}

    def number(self, frame: Frame) -> int:
        """The number of the line that `frame` is in."""
        return self._numbers.setdefault(code_line(frame), len(self._numbers))

    def of(self, frames: Sequence[Frame], indices: NDArray[Any]) -> NDArray[np.int64]:
        """The numbers of the lines of the frames at `indices`, in their shape; `NONE` stays `NONE`.

        Only the frames in use are numbered, each once.
        """
        return _of_used(frames, indices, self.number)


def function_numbers(frames: Sequence[Frame], indices: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers for the functions of the frames at `indices`, equal where their names are; `NONE` stays."""
    numbers: dict[str, int] = {}
    return _of_used(frames, indices, lambda frame: numbers.setdefault(frame.function, len(numbers)))


def _of_used(
    frames: Sequence[Frame], indices: NDArray[Any], number: Callable[[Frame], int]
) -> NDArray[np.int64]:
    used = np.zeros(len(frames) + 1, np.bool_)
    used[indices] = True
    used[NONE] = False
    numbers = np.full(len(frames) + 1, NONE, np.int64)  # the last is that of NONE
    for index in np.flatnonzero(used).tolist():
        numbers[index] = number(frames[index])
    found: NDArray[np.int64] = numbers[indices]
    return found
