"""Where files are written: a directory. What other stores have in common with it. Needs no package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from spyglass.export.snapshot_file import new_directory, replacing

__all__ = ["File", "LocalStore", "Store", "shown_url"]


@dataclass(frozen=True, slots=True)
class File:
    """A file to write: its name below the store's root ("groups/date=.../x.parquet"), and its bytes."""

    name: str
    data: bytes


class Store(Protocol):
    """A place for files. `is_local`: writing takes no longer than the local disk."""

    @property
    def is_local(self) -> bool: ...

    def write(self, name: str, data: bytes) -> None:
        """Write file `name` ("groups/date=.../x.parquet"): all of `data` or nothing. Raises `OSError`."""
        ...


@dataclass(frozen=True)
class LocalStore:
    """A directory. Files and directories in it are their owner's only, as saved snapshots are."""

    root: Path
    is_local: bool = True

    def write(self, name: str, data: bytes) -> None:
        """As `Store.write`."""
        path = self.root / name
        new_directory(self.root)
        for each in reversed(Path(name).parents[:-1]):
            new_directory(self.root / each)
        with replacing(path) as stream:
            stream.write(data)


def shown_url(url: str) -> str:
    """`url` without what may be secret: user, password and parameters."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
