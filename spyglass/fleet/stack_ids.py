"""Names of stacks: a hash of what their frames are called and where their lines are."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.model import NONE, Frame, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["stack_ids"]

_BYTES = 16


def stack_ids(snapshot: Snapshot, stacks: NDArray[np.int32]) -> dict[int, str]:
    """The name (32 hexadecimal digits) of each of `stacks`, indices of ``snapshot.stacks``.

    Equal stacks have one name in all processes, wherever the program was loaded: pcs do not count. Stacks that differ in a
    function, a file or a line have different names.
    """
    digests = np.frombuffer(b"".join(map(_digest, snapshot.frames)), np.uint8).reshape(-1, _BYTES)
    offsets, frames = snapshot.stack_offsets, snapshot.stack_frames
    names: dict[int, str] = {}
    for stack in distinct(stacks[stacks != NONE]).tolist():
        rows = frames[offsets[stack] : offsets[stack + 1]]
        elided = snapshot.elided.get(stack)
        words = digests[rows].tobytes() + (repr(elided).encode() if elided else b"")
        names[stack] = blake2b(words, digest_size=_BYTES).hexdigest()
    return names


def _digest(frame: Frame) -> bytes:
    words = repr((frame.function, frame.file, frame.line))
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
