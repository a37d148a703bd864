"""Saved snapshots that tools and resources show: files of one folder, and those that the server keeps."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from spyglass.errors import SpyglassError
from spyglass.export.snapshot_reader import load
from spyglass.serve.mcp.shorten import harmless
from spyglass.serve.problems import Refusal

if TYPE_CHECKING:
    from spyglass.heap_profile import HeapProfile
    from spyglass.memory_account import MemoryAccount
    from spyglass.model import Snapshot
    from spyglass.serve.kept import Kept
    from spyglass.serve.service import Service

__all__ = ["SCHEME", "Item", "Saved", "item", "items"]

SCHEME = "spyglass://snapshots/"

_ENDINGS = (".json", ".json.gz", ".json.zst", ".html")
#: So many files are looked at, the newest of them are shown, and none is unpacked to more bytes.
_MAX_SEEN, _MAX_SHOWN, _MAX_BYTES = 20_000, 200, 1 << 30


class Saved:
    """A saved snapshot, in place of the inspector of a process."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def snapshot(self, *_depth: object, stop: bool = False, **_options: object) -> Snapshot:
        """It, with what was saved."""
        if stop:
            raise Refusal(400, "stop: a saved snapshot has nothing to stop")
        return self._snapshot

    def memory_account(self) -> MemoryAccount:
        """The account that was saved with it; raises `SpyglassError` if there is none."""
        if self._snapshot.account is None:
            raise SpyglassError("the snapshot was saved without an account of memory")
        return self._snapshot.account

    def heap_profile(self) -> HeapProfile:
        """There is none."""
        raise SpyglassError("a snapshot has no heap profile", "ask about a running process")


@dataclass(frozen=True)
class Item:
    """A saved snapshot called `name`, of `size` bytes as a file, about which `about` tells; `open` reads it."""

    name: str
    size: int
    about: str
    open: Callable[[], Saved]

    @property
    def uri(self) -> str:
        """Its name as a resource."""
        return SCHEME + quote(self.name, safe="")


def items(service: Service) -> dict[str, Item]:
    """All of them by name: first the newest of the folder, then those that the server keeps."""
    found = {each.name: each for each in _files(service.settings.snapshots)}
    for kept in service.kept.values():
        about = f"kept by the server, of process {kept.pid}"
        found[kept.id] = Item(kept.id, kept.document()["bytes"], about, partial(_kept, kept))
    return found


def item(service: Service, name: str) -> Item:
    """The one with this name or URI. Only names of `items` are looked up, so none leads out of the folder."""
    if name.startswith(SCHEME):
        name = unquote(name.removeprefix(SCHEME))
    found = items(service).get(name)
    if found is None:
        raise Refusal(404, f"there is no snapshot {name[:64]!r}", "the resources are the snapshots")
    return found


def _files(folder: str | None) -> Iterator[Item]:
    if folder is None:
        return
    seen: list[tuple[float, str, int]] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _MAX_SEEN:
                    break
                if entry.name.endswith(_ENDINGS) and harmless(entry.name) == entry.name:
                    known = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(known.st_mode):
                        seen.append((known.st_mtime, entry.name, known.st_size))
    except OSError as error:
        raise SpyglassError(f"the folder of snapshots cannot be read: {error.strerror}") from None
    for _, name, size in sorted(seen, reverse=True)[:_MAX_SHOWN]:
        yield Item(name, size, "a file", partial(_opened, folder, name))


def _kept(kept: Kept) -> Saved:
    return Saved(kept.load())


def _opened(folder: str, name: str) -> Saved:
    """The snapshot in a file of `folder`, which is no link."""
    try:
        with open(os.path.join(folder, name), "rb", opener=_without_links) as file:
            return Saved(load(file, max_bytes=_MAX_BYTES))
    except OSError as error:
        raise SpyglassError(f"{name} cannot be read: {error.strerror}") from None


def _without_links(path: str, flags: int) -> int:
    """Open `path`; what became a link or a pipe meanwhile is refused, or is empty."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
