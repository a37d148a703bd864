"""Where Parquet files are written: a directory, or an object store that pyarrow or fsspec speaks."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from spyglass.errors import SpyglassError
from spyglass.fleet.local_store import LocalStore, Store, shown_url

__all__ = ["ObjectStore", "file_system", "open_store"]

#: File systems on which a file appears with all its bytes, or not at all.
_WHOLE_FILES = ("s3", "gcs", "abfs")
_HADOOP = "Java and Hadoop's libhdfs are needed: set JAVA_HOME and ARROW_LIBHDFS_DIR"
#: What a kind of store needs beside pyarrow.
_DRIVERS = {
    "hdfs": _HADOOP,
    "viewfs": _HADOOP,
    "fsspec": "`pip install fsspec` and the package of its protocol, such as gcsfs, adlfs or sshfs",
}
_KINDS = "a directory, s3://, gs://, abfs://, hdfs:// or fsspec+PROTOCOL:// can be given"


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
        except OSError:
            raise
        except Exception as error:  # drivers of fsspec raise what they like
            raise OSError(None, _first_line(error), name) from error

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
    except Exception as error:  # drivers of fsspec raise what they like
        first = _first_line(error).replace(url, shown_url(url))
        hint = _DRIVERS.get(url.partition("://")[0].partition("+")[0], _KINDS)
        raise SpyglassError(f"{shown_url(url)} cannot be opened: {first}", hint) from None
    if not path.strip("/"):
        raise SpyglassError(f"{shown_url(url)} names no bucket or directory")
    return files, path


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _with_single_puts(url: str) -> str:
    """`url`, of S3 with the option that a small file is one request and not three."""
    if not url.startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"
