"""Calls and lines of code as text, in the form of Go's traceback."""

from __future__ import annotations

from spyglass.escape import visible
from spyglass.model import Frame
from spyglass.words.units import UNKNOWN

__all__ = ["CALL_MARK", "START_MARK", "call_text", "location_text", "place_text"]

#: Stands between the function of the user's code and the call that it waits in.
CALL_MARK = " in "
#: Follows the start function of a goroutine where a view shows it because its location is not known.
START_MARK = " (start)"


def call_text(frame: Frame) -> str:
    """The name of the function of `frame`, as ``printFuncName`` (``runtime/traceback.go``) prints it."""
    return "panic" if frame.function == "runtime.gopanic" else visible(frame.function)


def place_text(frame: Frame) -> str:
    """The file and line of `frame`, which Go prints even if it does not know them (``?:0``)."""
    return f"{visible(frame.file or '?')}:{frame.line or 0}"


def location_text(frame: Frame) -> str:
    """The file and line of `frame`, with ``?`` for what is not known."""
    if frame.file is None:
        return UNKNOWN
    return f"{visible(frame.file)}:{UNKNOWN if frame.line is None else frame.line}"
