"""The state of a goroutine in words and colours, and which goroutines are marked as doubtful."""

from __future__ import annotations

from collections.abc import Mapping

from spyglass.model import NONE, QUALITIES, STATUSES, Snapshot

__all__ = ["DOUBTFUL", "STATE_COLOURS", "quality_mark", "state_at", "state_colour", "state_words"]

#: Indices of the `QUALITIES` of a goroutine whose state and stack may be wrong.
DOUBTFUL: tuple[int, ...] = (QUALITIES.index("torn"), QUALITIES.index("unreadable"))

#: The name of the colour of each state that is not a wait; the same for a goroutine and a P.
STATE_COLOURS: Mapping[str, str] = {"running": "green", "runnable": "cyan", "syscall": "magenta"}


def state_words(status: str, wait_reason: str | None) -> str:
    """The text between the brackets of Go's traceback: the wait reason, or else the status.

    The runtime's ``goroutineheader`` (``runtime/traceback.go``) writes it so.
    """
    words = wait_reason or status
    return f"{words} (leaked)" if status == "leaked" and wait_reason else words


def state_at(snapshot: Snapshot, status: int, wait_reason: int) -> str:
    """`state_words` of a goroutine's `status` and `wait_reason`, as its columns have them."""
    reason = snapshot.wait_reasons[wait_reason] if wait_reason != NONE else None
    return state_words(STATUSES[status], reason)


def quality_mark(quality: int) -> str:
    """`` (torn)`` or `` (unreadable)`` for a doubtful goroutine, else nothing."""
    return f" ({QUALITIES[quality]})" if quality in DOUBTFUL else ""


def state_colour(state: str) -> str:
    """The name of the colour of `state` (`state_words`, with or without a remark); empty if it has none."""
    return STATE_COLOURS.get(state.partition(" ")[0], "")
