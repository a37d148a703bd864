"""A target as people type it: a pid, the name of a Go process, or a file.

A word that can be read in two ways is an error that names both; nothing is guessed.
"""

from __future__ import annotations

import os
import stat

from spyglass.cli.sources import CoreSource, ProcessSource, SavedSource, Source
from spyglass.errors import AmbiguousName, ProcessNotFound

__all__ = ["MAX_PID", "SNAPSHOT_SUFFIXES", "is_target", "typed_source"]

#: The kernel assigns no higher pid (proc(5), ``/proc/sys/kernel/pid_max``).
MAX_PID = 1 << 22

#: How the names of saved snapshots and reports end.
SNAPSHOT_SUFFIXES = (".json", ".json.gz", ".json.zst", ".html")

#: An ELF header up to its type, and the type of cores (elf(5)).
_ELF_MAGIC, _TYPE_OFFSET, _ET_CORE = b"\x7fELF", 16, 4
_LIST_HINT = "`spyglass ps` lists the Go processes"


def typed_source(word: str, exe: str | None = None, max_bytes: int | None = None) -> Source:
    """The source that `word` names.

    A word with a slash, or that ends like a saved snapshot, or "-", is a file; a number is a pid or a
    file; another word is the name of a process or a file. `exe` and `max_bytes` are for a core and for a saved snapshot. Raises
    `AmbiguousName` if there are two such things, `ProcessNotFound` if there are none,
    `PermissionDenied` if the only one is a process that may not be read.
    """
    if _is_path(word):
        return _file(word, exe, max_bytes)
    if _is_number(word):
        return _process_or_file(word, exe, max_bytes)
    return _named_or_file(word, exe, max_bytes)


def is_target(word: str) -> bool:
    """Whether `word` can be a target: a number, a path, a file, or the name of a Go process."""
    if _is_number(word) or _is_path(word) or os.path.exists(word):
        return True
    from spyglass.processes import named

    return bool(named(word).processes)


def _is_path(word: str) -> bool:
    return word == "-" or "/" in word or word.endswith(SNAPSHOT_SUFFIXES)


def _process_or_file(word: str, exe: str | None, max_bytes: int | None) -> Source:
    pid = int(word[:10])
    is_pid = 0 < pid <= MAX_PID and os.path.exists(f"/proc/{pid}")
    if _is_readable_as_file(word):
        if is_pid:
            raise AmbiguousName(
                f"{word} is both a process and a file",
                f"use --pid {word}, or ./{word} for the file",
            )
        return _file(word, exe, max_bytes)
    if not 0 < pid <= MAX_PID:
        raise ProcessNotFound(f"there is no process {word}", _LIST_HINT)
    return ProcessSource(pid)


def _named_or_file(word: str, exe: str | None, max_bytes: int | None) -> Source:
    from spyglass.processes import named, only_one

    listing = named(word)
    if _is_readable_as_file(word):
        if listing.processes:
            raise _file_and_processes(word, tuple(each.pid for each in listing.processes))
        return _file(word, exe, max_bytes)
    try:
        return ProcessSource(only_one(listing, word))
    except ProcessNotFound:
        if os.path.exists(word):
            return _file(word, exe, max_bytes)  # which says why it is no target
        message = f"there is no Go process and no file called {word}"
        raise ProcessNotFound(message, _LIST_HINT) from None


def _file_and_processes(word: str, pids: tuple[int, ...]) -> AmbiguousName:
    if len(pids) == 1:
        message = f"{word} is both a Go process and a file"
        return AmbiguousName(message, f"use --pid {pids[0]}, or ./{word} for the file")
    message = f"{word} is a file, and {len(pids)} Go processes have that name"
    return AmbiguousName(message, f"use --pid PID, or ./{word} for the file", pids)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _is_readable_as_file(word: str) -> bool:
    """Whether `word` is a file that can be a target, or a directory with saved snapshots in it.

    An executable, and another directory, often have the name of the process and are no target.
    """
    if os.path.isdir(word):
        return _has_snapshots(word)
    return os.path.exists(word) and _elf_type(word) in (None, _ET_CORE)


def _has_snapshots(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entry.name.endswith(SNAPSHOT_SUFFIXES) for entry in entries)
    except OSError:  # that of another user, such as /var/lib/etcd
        return False


def _file(path: str, exe: str | None, max_bytes: int | None) -> Source:
    if _elf_type(path) == _ET_CORE:
        return CoreSource(path, exe)
    return SavedSource(path, max_bytes)


def _elf_type(path: str) -> int | None:
    """The type of the ELF file at `path`; None if it is none, or cannot be read.

    A pipe is left alone: what is read of it is gone.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as stream:
            header = stream.read(_TYPE_OFFSET + 2)
    except OSError:
        return None
    if len(header) < _TYPE_OFFSET + 2 or not header.startswith(_ELF_MAGIC):
        return None
    return int.from_bytes(header[_TYPE_OFFSET:], "little")
