"""Where Parquet files are written: a directory, or an object store that pyarrow or fsspec speaks."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from spyglass.errors import SpyglassError
from spyglass.export.snapshot_file import new_directory, replacing

__all__ = ["LocalStore", "ObjectStore", "Store", "file_system", "open_store", "shown_url"]

#: File systems on which a file appears with all its bytes, or not at all.
_WHOLE_FILES = ("s3", "gcs", "abfs")


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


@dataclass(frozen=True)
class ObjectStore:
    """A file system of pyarrow, and the directory or the bucket in it."""

    files: Any
    root: str
    is_local: bool = False

    def write(self, name: str, data: bytes) -> None:
        """As `Store.write`; on a store of objects it is a single put."""
        path = f"{self.root}/{name}"
        try:
            if self.files.type_name in _WHOLE_FILES:
                self._put(path, data)
            else:
                self._put_and_rename(path, data)
        except pa.ArrowException as error:
            raise OSError(None, str(error), name) from error

    def _put(self, path: str, data: bytes) -> None:
        with self.files.open_output_stream(path) as stream:
            stream.write(data)

    def _put_and_rename(self, path: str, data: bytes) -> None:
        folder, _, base = path.rpartition("/")
        hidden = f"{folder}/.{base}.{secrets.token_hex(4)}"
        self.files.create_dir(folder, recursive=True)
        try:
            self._put(hidden, data)
            self.files.move(hidden, path)
        except BaseException:
            with suppress(OSError, pa.ArrowException):
                self.files.delete_file(hidden)
            raise


def open_store(url: str) -> Store:
    """The store at `url`: a directory, or as s3://bucket/prefix?region=eu-west-1 (`pyarrow.fs.FileSystem.from_uri`).

    Raises `SpyglassError` if there is no such kind of store.
    """
    if "://" not in url:
        return LocalStore(Path(url))
    files, root = file_system(url)
    return ObjectStore(files, root.rstrip("/"))


def file_system(url: str) -> tuple[Any, str]:
    """The file system of `url`, and the path in it. fsspec's are written as fsspec+PROTOCOL://."""
    try:
        files, path = fs.FileSystem.from_uri(_with_single_puts(url))
    except (pa.ArrowException, OSError, ValueError, ImportError) as error:
        raise SpyglassError(f"{shown_url(url)} cannot be opened: {error}") from None
    return files, path


def _with_single_puts(url: str) -> str:
    """`url`, of S3 with the option that a small file is one request and not three."""
    if not url.startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"


def shown_url(url: str) -> str:
    """`url` without what may be secret: user, password and parameters."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
