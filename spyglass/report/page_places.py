"""Places in the code as columns of a page's data: function, file, line, and origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.code_origin import NOTE, ORIGINS, origin
from spyglass.escape import visible
from spyglass.model import NONE, Frame, Snapshot
from spyglass.words.calls import call_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Places", "Strings"]


class Strings:
    """Numbers texts in the order of their appearance; each text is safe to show."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """The number of `text` made visible; `NONE` if there is none."""
        if text is None:
            return NONE
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(visible(text))
        return self._numbers[text]


class Places:
    """Numbers lines of code; many frames, each with its own pc, are on one line."""

    def __init__(self, snapshot: Snapshot, strings: Strings) -> None:
        self._snapshot = snapshot
        self._strings = strings
        self._of_frame: list[int] = [NONE] * len(snapshot.frames)
        self._numbers: dict[tuple[str, str | None, int | None], int] = {}
        self._columns: list[tuple[int, int, int, int]] = []

    def of_frame(self, index: int) -> int:
        """The number of the place where frame `index` is; `NONE` for `NONE`."""
        if index == NONE:
            return NONE
        if self._of_frame[index] == NONE:
            frame = self._snapshot.frames[index]
            key = (frame.function, frame.file, frame.line)
            if key not in self._numbers:
                self._numbers[key] = self._added(frame)
            self._of_frame[index] = self._numbers[key]
        return self._of_frame[index]

    def of_frames(self, frames: NDArray[np.int32]) -> NDArray[np.int64]:
        """The numbers of the places of `frames`, each looked up once; `NONE` for `NONE`."""
        used = np.zeros(int(frames.max(initial=NONE)) + 2, np.bool_)
        used[frames] = True
        numbers = np.full(len(used), NONE, np.int64)  # the last is where NONE, -1, looks itself up
        for frame in np.flatnonzero(used[:-1]).tolist():
            numbers[frame] = self.of_frame(frame)
        return numbers[frames]

    def note(self, text: str) -> int:
        """A note in place of a function: `text` says what is not known."""
        key = (text, None, NONE)
        if key not in self._numbers:
            self._numbers[key] = len(self._columns)
            self._columns.append((self._strings.number(text), NONE, 0, NOTE))
        return self._numbers[key]

    def columns(self) -> dict[str, list[Any]]:
        """`function` and `file`, numbers of strings, `line`, 0 if not known, and `origin`."""
        names = ("function", "file", "line", "origin")
        return {name: [row[i] for row in self._columns] for i, name in enumerate(names)}

    def _added(self, frame: Frame) -> int:
        self._columns.append(
            (
                self._strings.number(call_text(frame)),
                self._strings.number(frame.file),
                max(frame.line or 0, 0),
                ORIGINS.index(origin(frame.function, self._snapshot.process.module)),
            )
        )
        return len(self._columns) - 1
