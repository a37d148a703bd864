"""Files of /proc, read up to a limit of their size; what they say of a process.

Our own reading, not that of psutil, which sets no limit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from spyglass.errors import BadDataError

__all__ = ["Stat", "read", "read_head", "read_stat", "read_status", "split_stat", "text"]

_CHUNK_BYTES = 1 << 16
_MAX_STAT_BYTES = 1 << 13
#: The line of supplementary groups alone can be 700 kB (``NGROUPS_MAX``).
_MAX_STATUS_BYTES = 1 << 20

_KERNEL_THREAD = 0x00200000


@dataclass(frozen=True, slots=True)
class Stat:
    """What spyglass uses of /proc/PID/stat (proc_pid_stat(5)).

    `state` is the kernel's letter, `start_ticks` the start since boot in clock ticks.
    """

    pid: int
    name: str
    state: str
    parent: int
    kernel_thread: bool
    threads: int
    start_ticks: int

    @property
    def ended(self) -> bool:
        """Whether only the exit status is left (a zombie) or not even that."""
        return self.state in "ZXx"

    @property
    def stopped(self) -> bool:
        """Whether a signal or a tracer has stopped it."""
        return self.state in "Tt"


def read(path: str, limit_bytes: int, dir_fd: int | None = None) -> bytes:
    """The contents of `path`; `BadDataError` if it holds more than `limit_bytes`, or OSError."""
    data = read_head(path, limit_bytes + 1, dir_fd)
    if len(data) > limit_bytes:
        raise BadDataError(f"{path} holds more than {limit_bytes} bytes")
    return data


def read_head(path: str, limit_bytes: int, dir_fd: int | None = None) -> bytes:
    """The first `limit_bytes` of `path`, or all of it if it is shorter; or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        parts, room = [], limit_bytes
        while room and (part := os.read(descriptor, min(room, _CHUNK_BYTES))):
            parts.append(part)
            room -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def text(raw: bytes) -> str:
    r"""Bytes that should be UTF-8 as text; other bytes become ``\xff``."""
    return raw.decode("utf-8", "backslashreplace")


def read_stat(pid: int) -> Stat:
    """/proc/PID/stat, which everyone may read; or OSError."""
    name, fields = split_stat(read(f"/proc/{pid}/stat", _MAX_STAT_BYTES))
    try:
        values = fields.split()
        return Stat(
            pid=pid,
            name=name,
            state=text(values[0]),
            parent=int(values[1]),
            kernel_thread=bool(int(values[6]) & _KERNEL_THREAD),
            threads=int(values[17]),
            start_ticks=int(values[19]),
        )
    except (ValueError, IndexError):
        raise BadDataError(f"/proc/{pid}/stat is malformed") from None


def split_stat(raw: bytes) -> tuple[str, bytes]:
    """The name in a stat line, and what follows it, from the state on.

    A thread names itself as it likes, with parentheses and newlines too; only numbers come behind.
    """
    begin, end = raw.find(b"("), raw.rfind(b")")
    if not 0 <= begin < end:
        raise BadDataError("a stat line without a name")
    return text(raw[begin + 1 : end]), raw[end + 2 :]


def read_status(pid: int | str) -> dict[str, str]:
    """/proc/PID/status (proc_pid_status(5)) by key; its Name is escaped by the kernel. Or OSError."""
    lines = text(read(f"/proc/{pid}/status", _MAX_STATUS_BYTES)).split("\n")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
