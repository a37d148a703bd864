"""Memory made of bytes, for tests of what is decoded from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import MAX_READ_BYTES, Gathered, Memory


class ImageMemory(Memory):
    """The bytes of `segments` at their addresses, and nothing anywhere else."""

    def __init__(self, segments: Mapping[int, bytes]) -> None:
        self.segments = dict(segments)

    def place(self, address: int, value: bytes | NDArray[Any]) -> None:
        self.segments[address] = value if isinstance(value, bytes) else value.tobytes()

    def read(self, address: int, size: int) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise BadDataError(f"implausible size {size}")
        for start, content in self.segments.items():
            if start <= address and address + size <= start + len(content):
                return content[address - start : address - start + size]
        raise MemoryFault(address, size)

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        lengths = np.broadcast_to(np.asarray(sizes, np.int64), addresses.shape)
        padded = -(-lengths // 8) * 8
        offsets = np.concatenate(([0], np.cumsum(padded))).astype(np.int64)
        buffer, ok = np.zeros(offsets[-1], np.uint8), np.zeros(len(addresses), bool)
        for i, address in enumerate(addresses.tolist()):
            try:
                content = self.read(address, int(lengths[i]))
            except MemoryFault:
                continue
            buffer[offsets[i] : offsets[i] + len(content)] = np.frombuffer(content, np.uint8)
            ok[i] = True
        return Gathered(buffer, offsets[:-1], ok)
