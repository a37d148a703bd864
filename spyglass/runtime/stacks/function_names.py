"""Names of functions: how Go prints them, and which ones its traceback leaves out."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["hidden", "printed", "printed_with_methods"]

#: The runtime's own functions that are shown: they part the code that panics from the deferred calls
#: it runs, or tell that these are finalizers.
_SHOWN = frozenset({"runtime.gopanic", "runtime.runFinalizers", "runtime.runCleanups"})

#: How a version of Go prints a name.
Printer = Callable[[str], str]


def printed(name: str) -> str:
    """`name` as Go prints it: what a generic function was made for is between its brackets, and left
    out (``runtime/traceback.go: funcNamePiecesForPrint``)."""
    begin, end = name.find("["), name.rfind("]")
    return f"{name[:begin]}[...]{name[end + 1 :]}" if 0 <= begin < end else name


def printed_with_methods(name: str) -> str:
    """As `printed` since Go 1.27, where methods can be generic too: brackets of the type and of the
    method, which the name of the method is between."""
    begin, end = name.find("["), name.rfind("]")
    inner = name[begin + 1 : end]
    if not 0 <= begin < end or "[" not in inner:
        return printed(name)
    depth, closed, opened = _balance(inner)
    if depth != 1 or (closed < 0) != (opened < 0):
        return name
    if closed < 0:
        return printed(name)
    return f"{name[:begin]}[...]{inner[closed + 1 : opened]}[...]{name[end + 1 :]}"


def _balance(inner: str) -> tuple[int, int, int]:
    """How deep in brackets `inner` ends, which is in one from the start, and where that one is closed
    and the next one opened, -1 for nowhere."""
    depth, closed = 1, -1
    for at, character in enumerate(inner):
        if character == "[":
            depth += 1
            if depth == 1:
                return depth, closed, at
        elif character == "]":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                closed = at
    return depth, closed, -1


def hidden(function: str) -> bool:
    """Whether Go's traceback leaves `function` out by default (``runtime/traceback.go: showframe``)."""
    if "." not in function:
        return True
    if function in _SHOWN:
        return False
    return function.startswith("runtime.") and not _exported(function[len("runtime.") :])


def _exported(name: str) -> bool:
    """As ``isExportedRuntime``: an exported function, or such a method of an exported type."""
    receiver, _, method = name.rpartition(".")
    if receiver.startswith("(*") and receiver.endswith(")"):
        receiver = receiver[2:-1]
    return method[:1].isupper() and (not receiver or receiver[:1].isupper())
