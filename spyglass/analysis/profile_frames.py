"""Which frames a profile has."""

from __future__ import annotations

from spyglass.model import Frame

__all__ = ["is_in_profile"]


def is_in_profile(frame: Frame) -> bool:
    """Whether a profile has `frame`: no ``runtime.goexit`` and no wrapper, as Go's.

    What is hidden and not the runtime's is a wrapper that the compiler
    made (``runtime/traceback.go``: `tracebackPCs` leaves it out).
    """
    name = frame.function
    is_runtimes = name.startswith("runtime.") or "." not in name or frame.inlined
    return name != "runtime.goexit" and (is_runtimes or not frame.hidden)
