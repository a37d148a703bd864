"""The bytes of a file, read when they are needed.

Not mapped: a file may be truncated by others while it is read, and then access to its mapping kills
whoever touches it (SIGBUS, mmap(2)), where a read merely comes back short.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod

from spyglass.errors import BadDataError

__all__ = ["BytesImage", "FileImage", "Image"]

_PIECE_BYTES = 1 << 20


class Image(ABC):
    """A file of `len` bytes."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes from `offset` on; how many there were."""

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; `BadDataError` if there are fewer."""
        if not 0 <= offset <= offset + size <= len(self):
            raise BadDataError(f"the file has no {size} bytes at {offset:#x}")
        found = self._read(offset, size)
        if len(found) != size:
            raise BadDataError("the file was cut off while it was read")
        return found

    def read_up_to(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, or as many as there are; `BadDataError` if the disk fails."""
        return self._read(offset, size) if offset < len(self) and size > 0 else b""

    @abstractmethod
    def _read(self, offset: int, size: int) -> bytes:
        """As many of these bytes as there are now."""

    def find(self, wanted: bytes, begin: int, end: int) -> int:
        """Where `wanted` is first in [begin, end), -1 if it is not there."""
        end = min(end, len(self))
        for piece in range(begin, end - len(wanted) + 1, _PIECE_BYTES):
            size = min(_PIECE_BYTES + len(wanted) - 1, end - piece)
            at = self.read(piece, size).find(wanted)
            if at >= 0:
                return piece + at
        return -1

    def close(self) -> None:
        """Close the file."""


class FileImage(Image):
    """The file behind `descriptor`, which is closed with this object or when it is collected."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        status = os.fstat(descriptor)
        self._size = status.st_size
        #: When it was last written to, in seconds since 1970.
        self.modified_at = status.st_mtime
        #: Whether this is a file, not a directory, a pipe or a device.
        self.is_regular = stat.S_ISREG(status.st_mode)

    def __len__(self) -> int:
        return self._size

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes from `offset` on; how many could be read."""
        if self._descriptor is None:
            raise BadDataError("the file was closed")
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError:  # a bad disk, or a file server that stopped answering
                return done
            if got == 0:
                return done
            done += got
        return done

    def _read(self, offset: int, size: int) -> bytes:
        if self._descriptor is None:
            raise BadDataError("the file was closed")
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise BadDataError(f"the file cannot be read: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


class BytesImage(Image):
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = memoryview(data)

    def __len__(self) -> int:
        return len(self._data)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes from `offset` on; how many there were."""
        found = self._data[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])
