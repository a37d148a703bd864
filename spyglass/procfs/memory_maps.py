"""The mappings of a process's address space: /proc/PID/maps (proc_pid_maps(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass

from spyglass.errors import BadDataError
from spyglass.procfs.access import refusals
from spyglass.procfs.files import read

__all__ = ["MAX_MAPPINGS", "Mapping", "maps", "parse_line", "parse_maps"]

#: The kernel's own limit, vm.max_map_count, is 65,530 unless raised; some distributions have 2**20.
MAX_MAPPINGS = 1 << 20
_MAX_BYTES = 1 << 27
_DELETED = b" (deleted)"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A range of addresses (`end` is the first one behind it) and the file it shows, if any.

    `device` is as `os.makedev` makes it; on overlayfs and btrfs it is not what stat(2) says. `path`
    is decoded as `os.fsdecode` does, so that it can be opened; empty for anonymous memory, or a
    kernel's word in brackets. `deleted`: the file was removed or replaced.
    """

    start: int
    end: int
    permissions: str
    offset: int
    device: int
    inode: int
    path: str
    deleted: bool

    @property
    def readable(self) -> bool:
        """Whether the process itself may read it."""
        return self.permissions[0] == "r"

    @property
    def writable(self) -> bool:
        """Whether the process itself may write to it."""
        return self.permissions[1] == "w"

    @property
    def executable(self) -> bool:
        """Whether there may be code in it."""
        return self.permissions[2] == "x"


def maps(pid: int) -> list[Mapping]:
    """The mappings of process `pid` by address; empty when it has ended and not been waited for.

    Raises `PermissionDenied`, `ProcessNotFound`, or `BadDataError` for more than `MAX_MAPPINGS`.
    """
    with refusals(pid):
        return parse_maps(read(f"/proc/{pid}/maps", _MAX_BYTES))


def parse_maps(raw: bytes) -> list[Mapping]:
    """Decode the contents of a maps file."""
    lines = raw.split(b"\n")  # not splitlines: a path may hold a carriage return
    if len(lines) > MAX_MAPPINGS:
        raise BadDataError(f"implausible count of mappings, {len(lines)}")
    try:
        return [parse_line(line) for line in lines if line]
    except (ValueError, IndexError, OverflowError):
        raise BadDataError("a line of /proc/PID/maps is malformed") from None


def parse_line(line: bytes) -> Mapping:
    """Decode a line of a maps file. Raises ValueError, IndexError or OverflowError if it is malformed."""
    addresses, permissions, offset, device, inode, *path = line.split(None, 5)
    start, _, end = addresses.partition(b"-")
    major, _, minor = device.partition(b":")
    name = path[0] if path else b""
    deleted = name.endswith(_DELETED)
    return Mapping(
        start=int(start, 16),
        end=int(end, 16),
        permissions=permissions.decode("ascii"),
        offset=int(offset, 16),
        device=os.makedev(int(major, 16), int(minor, 16)),
        inode=int(inode),
        # Newlines are the only characters that the kernel escapes here.
        path=os.fsdecode(name.removesuffix(_DELETED).replace(rb"\012", b"\n")),
        deleted=deleted,
    )
