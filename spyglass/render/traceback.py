"""Goroutines in the form of Go's own traceback, as panics, SIGQUIT and debug=2 print it.

Tools that parse such text parse this. The form is that of ``runtime/traceback.go``
(`goroutineheader`, `traceback2` and `printcreatedby1`) with GOTRACEBACK unset, with three differences:
arguments are never printed, because they can be secrets; stacks are not cut off at 100 frames; a
goroutine whose stack is doubtful has ``(torn)`` or ``(unreadable)`` after its state, where Go has such
marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from spyglass.analysis.shown_frames import shown_frames
from spyglass.escape import visible
from spyglass.model import NONE, Frame, Snapshot
from spyglass.words.calls import call_text, place_text
from spyglass.words.states import quality_mark, state_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.wait_graph import WaitGraph

__all__ = ["thread_traceback", "traceback"]

#: Rows whose columns become Python numbers at a time, which bounds memory.
_BATCH_ROWS = 16384
#: The minimum length of a piece of text; a piece fits a processor's cache.
_PIECE_CHARACTERS = 1 << 16
#: Sizes of the caches of texts; the text of a deep stack can have 100,000 characters.
_STACKS_KEPT, _HEADERS_KEPT = 4096, 65536

_HEADER_END = "]:\n"
_MINUTE_NS = 60_000_000_000

#: Go prints this for a goroutine that runs while another one prints (``tracebacksomeothers``); parsers
#: know no other line for a goroutine without a stack.
_NO_STACK = "\tgoroutine running on other thread; stack unavailable\n"


def traceback(
    snapshot: Snapshot,
    rows: NDArray[np.int64],
    *,
    runtime_frames: bool = False,
    waits: bool = False,
) -> Iterator[str]:
    """The text of goroutines `rows` (int64) in large pieces, with an empty line after each goroutine.

    `runtime_frames`: include the frames that Go hides by default. `waits`: say in the brackets of each header
    what the goroutine waits for, as far as `snapshot` knows. Parsers skip what they do not know there; panicparse
    stops at a line of its own.
    """
    note = _notes(snapshot.waits) if waits and snapshot.waits is not None else None
    return _Traceback(snapshot, runtime_frames, note).pieces(rows)


def _notes(graph: WaitGraph) -> Callable[[int], str]:
    from spyglass.analysis.wait_index import WaitIndex
    from spyglass.analysis.wait_words import wait_note

    return partial(wait_note, WaitIndex(graph))


def thread_traceback(snapshot: Snapshot) -> Iterator[str]:
    """The threads in a similar form: the id and state of each, what it runs, and all frames of its stack.

    Go has no such text; a parser of its tracebacks finds no goroutines in it.
    """
    for thread in snapshot.threads:
        words = [thread.os_state or "?"]
        words += [f"m={thread.m}"] if thread.m is not None else []
        words += (
            ["locked to goroutine " + str(thread.locked_goroutine)]
            if thread.locked_goroutine
            else []
        )
        runs = visible(thread.runs or "not seen")
        if runs == "goroutine" and thread.goroutine is not None:
            runs = f"goroutine {thread.goroutine}"
        yield f"thread {thread.tid} {visible(thread.name or '?')} [{visible(', '.join(words))}]: {runs}\n"
        for number in thread.stack or ():
            frame = snapshot.frames[number]
            yield _frame_text(frame) if frame.file else f"{visible(frame.function)}\n"
        yield "\n"


class _Traceback:
    """The texts of one snapshot. Text that goroutines share (headers, stacks, creators) is made once."""

    def __init__(
        self, snapshot: Snapshot, runtime_frames: bool, note: Callable[[int], str] | None = None
    ) -> None:
        self._snapshot = snapshot
        self._note = note
        self._runtime_frames = runtime_frames
        self._frames = [_frame_text(frame) for frame in snapshot.frames]
        self._header = lru_cache(_HEADERS_KEPT)(self._make_header)
        self._stack = lru_cache(_STACKS_KEPT)(self._make_stack)
        self._creator = lru_cache(_HEADERS_KEPT)(self._make_creator)

    def pieces(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """The text of `rows` in pieces."""
        header, stack, creator = self._header, self._stack, self._creator
        parts: list[str] = []
        size = 0
        for first in range(0, len(rows), _BATCH_ROWS):
            for goid, state, number, creation in self._columns(rows[first : first + _BATCH_ROWS]):
                frames, title = stack(number), header(*state)
                if self._note is not None:
                    title = _with_note(title, self._note(goid))
                parts += (f"goroutine {goid} {title}", frames, creator(*creation), "\n")
                size += len(frames)
                if size >= _PIECE_CHARACTERS:
                    yield "".join(parts)
                    parts.clear()
                    size = 0
        yield "".join(parts)

    def _columns(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, tuple[int, int, int, bool, int], int, tuple[int, int]]]:
        g = self._snapshot.goroutines
        states = (
            *(column[rows].tolist() for column in (g.status, g.wait_reason)),
            (g.printed_ns[rows] // _MINUTE_NS).tolist(),
            *(column[rows].tolist() for column in (g.locked, g.quality)),
        )
        return zip(
            g.id[rows].tolist(),
            zip(*states, strict=True),
            g.stack[rows].tolist(),
            zip(g.creator[rows].tolist(), g.creator_id[rows].tolist(), strict=True),
            strict=True,
        )

    def _make_header(
        self, status: int, reason: int, minutes: int, locked: bool, quality: int
    ) -> str:
        """The part of the header after the id (``goroutineheader``)."""
        words = visible(state_at(self._snapshot, status, reason)) + quality_mark(quality)
        if minutes >= 1:
            words += f", {minutes} minutes"
        if locked:
            words += ", locked to thread"
        return f"[{words}{_HEADER_END}"

    def _make_stack(self, stack: int) -> str:
        if stack == NONE:
            return _NO_STACK
        omitted = self._snapshot.elided.get(stack, (0, 0))[1]
        numbers = shown_frames(self._snapshot, stack, runtime_frames=self._runtime_frames)
        return "".join(
            f"...{omitted} frames elided...\n" if number == NONE else self._frames[number]
            for number in numbers
        )

    def _make_creator(self, index: int, goid: int) -> str:
        """The ``go`` statement that created it, if Go would show it (``printcreatedby``)."""
        frame = self._snapshot.frame(index)
        if frame is None or (frame.hidden and not self._runtime_frames):
            return ""
        by = f" in goroutine {goid}" if goid != NONE else ""
        return f"created by {call_text(frame)}{by}\n{_at(frame)}"


def _with_note(title: str, note: str) -> str:
    """The part of a header after the id, with `note` before the bracket that ends it."""
    if not note:
        return title
    # What parsers take for the end of the brackets, or of an item in them.
    text = visible(note).replace("[", "(").replace("]", ")").replace(", ", " ")
    return f"{title.removesuffix(_HEADER_END)}, {text}{_HEADER_END}"


def _frame_text(frame: Frame) -> str:
    return f"{call_text(frame)}(...)\n{_at(frame)}"


def _at(frame: Frame) -> str:
    offset = "" if frame.offset is None else f" +{frame.offset:#x}"
    return f"\t{place_text(frame)}{offset}\n"
