"""Save a snapshot in a file: as a whole or not at all, and readable by its owner only."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from spyglass.errors import SpyglassError
from spyglass.formats import exporter, exporter_of_path
from spyglass.model import Snapshot

__all__ = ["default_name", "file_name", "new_directory", "replacing", "save"]

#: The characters of a name, whatever a program or a machine is called.
_UNFIT = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_WORD = 60


def save(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Write `snapshot` to `path` in the format of its extension (`spyglass.formats`), else .json.gz.

    It is written under another name and renamed, so that a full disk leaves what was there before.
    Only its owner may read it; under sudo that is the user who called it. Raises `OSError`.
    """
    path = Path(path)
    with replacing(path) as stream:
        (exporter_of_path("snapshot", path) or exporter("snapshot", "json.gz")).write(
            snapshot, stream
        )


def default_name(snapshot: Snapshot, suffix: str = ".json.gz") -> str:
    """A name for the file, from program, machine, pid and time: ``etcd-web3-4711-20261120T062000Z.json.gz``."""
    process = snapshot.process
    program = process.exe or process.module
    return file_name(program, snapshot.host, process.pid, snapshot.taken_at) + suffix


def file_name(program: str | None, host: str | None, pid: int | None, taken_at: datetime) -> str:
    """A name without suffix for a file about process `pid`: ``etcd-web3-4711-20261120T062000Z``."""
    when = taken_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    words = [os.path.basename(program or "go"), host or "", str(pid or ""), when]
    return "-".join(filter(None, map(_fit, words)))


def new_directory(path: Path) -> None:
    """Make directory `path`, if it is not there, for the same user alone as the files in it."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _give(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))


def _fit(word: str) -> str:
    return _UNFIT.sub("_", word)[:_MAX_WORD].strip(".")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that becomes `path` when the block is done, and is gone if it is not.

    Until then it has no name, so that nothing is left of it however spyglass ends; where the file system
    has no files without names, one that begins with a dot.
    """
    if path.exists() and not path.is_file():
        raise SpyglassError(f"{path} is not a file", "`-o -` writes to standard output")
    name = path.with_name(f".{path.name[:_MAX_WORD]}.{secrets.token_hex(4)}")
    try:
        handle, is_named = _create(name)
        try:
            with open(handle, "wb") as stream:
                _give(os.dup(handle))
                yield stream
                stream.flush()
                os.fsync(handle)
                if not is_named:
                    _link(handle, name)
            os.rename(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _create(name: Path) -> tuple[int, bool]:
    """A new file beside `name`, and whether that is its name: only if it cannot be without one."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(name.parent, flags | os.O_TMPFILE, 0o600), False
    except OSError as error:
        # open(2): file systems and kernels that do not know it say that it is a directory, or this.
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600), True


def _link(handle: int, name: Path) -> None:
    """Give the open file `handle`, which has no name, this one (open(2), O_TMPFILE)."""
    folder = os.open(name.parent, os.O_PATH | os.O_CLOEXEC)
    try:  # with a folder, Python calls linkat(2), which can follow the link to the file
        os.link(f"/proc/self/fd/{handle}", name.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _give(handle: int) -> None:
    """Let the user who called sudo own the open file `handle`; closes it."""
    try:
        user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
        if os.geteuid() == 0 and user.isdecimal() and group.isdecimal():
            os.fchown(handle, int(user), int(group))
    finally:
        os.close(handle)
