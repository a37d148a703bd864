"""What differs in the namespaces of a process: the ids of its threads, the clock, and who owns its user namespace."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

from spyglass.errors import BadDataError
from spyglass.procfs.access import refusals
from spyglass.procfs.files import read, read_status, text

__all__ = ["monotonic_offset_ns", "outer_tids", "parse_offsets", "user_namespace_owner"]

_MAX_OFFSETS_BYTES = 1 << 12
_NS_PER_SECOND = 10**9
#: ioctl_ns(2).
_NS_GET_OWNER_UID = 0xB704
_UID = struct.Struct("=I")


def outer_tids(pid: int) -> dict[int, int] | None:
    """Our thread ids of process `pid` by its own; None if they are the same.

    They differ in a pid namespace of its own: NSpid in /proc/PID/status names the thread in each
    namespace, from ours to the innermost. Threads that end meanwhile are left out.
    """
    with refusals(pid):
        if len(_ids(str(pid))) < 2:
            return None
        found = {}
        for tid in os.listdir(f"/proc/{pid}/task"):
            try:
                outer, *_, inner = map(int, _ids(f"{pid}/task/{tid}"))
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[inner] = outer
        return found


def _ids(task: str) -> list[str]:
    return read_status(task).get("NSpid", "").split()


def monotonic_offset_ns(pid: int) -> int | None:
    """What must be added to CLOCK_MONOTONIC as we read it to have it as process `pid` does.

    time_namespaces(7). None if it cannot be known: only the offsets for a process's children are
    shown, which may be about to be in another namespace than the process itself.
    """
    with refusals(pid):
        try:
            here, there = _namespace("self", "time"), _namespace(pid, "time")
            if here == there:
                return 0
            if there != _namespace(pid, "time_for_children"):
                return None
            return _offset_ns(pid) - _offset_ns("self")
        except FileNotFoundError:
            if os.path.exists("/proc/self/ns/time"):
                raise
            return 0  # a kernel without time namespaces


def user_namespace_owner(pid: int) -> int | None:
    """The user who made the user namespace of process `pid`; None if that is ours, or cannot be known."""
    try:
        if _namespace(pid, "user") == _namespace("self", "user"):
            return None
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            raw = fcntl.ioctl(descriptor, _NS_GET_OWNER_UID, bytes(_UID.size))
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return int(_UID.unpack(raw)[0])


def _namespace(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def _offset_ns(pid: int | str) -> int:
    return parse_offsets(text(read(f"/proc/{pid}/timens_offsets", _MAX_OFFSETS_BYTES)))


def parse_offsets(offsets: str) -> int:
    """The offset of the monotonic clock, in ns, in the contents of a timens_offsets file."""
    for line in offsets.split("\n"):
        name, *numbers = line.split()[:3] or [""]
        if name in ("monotonic", "1") and len(numbers) == 2:
            with suppress(ValueError):
                seconds, ns = map(int, numbers)
                return seconds * _NS_PER_SECOND + ns
    raise BadDataError("the offsets of a time namespace are malformed")
