"""Memory: bytes at addresses, and nothing about where they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spyglass.errors import BadDataError, MemoryFault

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["MAX_READ_BYTES", "Gathered", "Memory"]

#: No single read is larger: a size that comes from a target may be any number.
MAX_READ_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Gathered:
    """What `Memory.gather` read.

    `buffer` (uint8) holds range i at ``offsets[i]`` (int64); `ok` (bool) tells which ranges were
    read whole. Bytes of the others are undefined. Ranges may overlap in the buffer.
    """

    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    ok: NDArray[np.bool_]

    def rows(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The ranges as an array of structures of `dtype`, each as long as every range was."""
        lanes = -(-dtype.itemsize // 8)
        table = self.words(lanes)
        if dtype.itemsize == lanes * 8:
            return table.view(dtype).reshape(-1)
        raw = table.view(np.uint8)[:, : dtype.itemsize]
        return np.ascontiguousarray(raw).view(dtype).reshape(-1)

    def lanes(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The 8-byte words `numbers` of each range, as an array of shape (ranges, words); undefined for
        ranges that were not read."""
        words = self.buffer.view(np.uint64)
        if not len(words):
            return np.zeros((len(self.offsets), len(numbers)), np.uint64)
        return words.take((self.offsets >> 3)[:, None] + numbers, mode="clip")

    def words(self, count: int) -> NDArray[np.uint64]:
        """The first `count` 8-byte words of each range, as an array of shape (ranges, count)."""
        words = self.buffer.view(np.uint64)
        first = np.minimum(self.offsets >> 3, len(words))
        beyond = int(first.max(initial=0)) + count - len(words)
        if beyond > 0:  # ranges that were not read
            words = np.concatenate([words, np.zeros(beyond, np.uint64)])
        # Overlapping pieces of `count` words, of which some are picked: each is copied as a whole.
        pieces = np.ndarray(len(words) - count + 1, f"V{8 * count}", words, strides=(8,))
        table: NDArray[np.uint64] = pieces[first].view(np.uint64).reshape(-1, count)
        return table


class Memory(ABC):
    """The memory of a target: exact reads, or `spyglass.errors.MemoryFault`."""

    #: Whether several threads may read at the same time.
    takes_threads: ClassVar[bool] = False

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`; `MemoryFault` if one of them cannot be read."""

    @abstractmethod
    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        """Many ranges at once; unreadable ones are masked, not raised.

        Ranges start at multiples of 8 in the buffer if all `addresses` are multiples of 8.
        """

    def close(self) -> None:
        """Close the source of the bytes."""

    def gather_in_order(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> Gathered:
        """As `gather`, one range after the other: neighbours in the arguments are microseconds apart.

        Addresses and sizes must be multiples of 8.
        """
        return self.gather(addresses, sizes)

    def reader(self, ranges: Sequence[tuple[int, int]]) -> Callable[[], bytes | None]:
        """A function that reads `ranges` (address, size) again at every call: their bytes one after the other, None
        if one of them cannot be read. For few ranges that are read very often."""

        def read() -> bytes | None:
            try:
                return b"".join([self.read(address, size) for address, size in ranges])
            except MemoryFault:
                return None

        return read

    def array(self, address: int, dtype: DTypeLike, count: int) -> NDArray[Any]:
        """`count` values of `dtype` at `address`, as an array of shape (count,)."""
        kind = np.dtype(dtype)
        if not 0 <= count * kind.itemsize <= MAX_READ_BYTES:
            raise BadDataError(f"implausible count {count} at {address:#x}")
        return np.frombuffer(self.read(address, count * kind.itemsize), kind, count)

    def u64(self, address: int) -> int:
        """The 8-byte word at `address`."""
        return int.from_bytes(self.read(address, 8), "little")

    def string(self, address: int, limit: int = 1 << 16) -> str:
        """The Go string whose header (pointer, length) is at `address`; at most `limit` bytes."""
        pointer, length = (int(word) for word in self.array(address, "<u8", 2))
        if length > limit:
            raise BadDataError(f"implausible length {length} of a string at {address:#x}")
        return self.read(pointer, length).decode("utf-8", "backslashreplace") if length else ""
