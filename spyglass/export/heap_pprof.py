"""A heap profile as ``go tool pprof`` reads it: the values that Go's own has (``runtime/pprof/protomem.go``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from spyglass.export.pprof_encoding import ProfileEncoder, write_gzip
from spyglass.export.protobuf import varint
from spyglass.export.pseudo_frames import WholeStacks
from spyglass.heap_profile import HeapProfile
from spyglass.version import __version__

__all__ = ["write_heap_pprof"]

_VALUES = (
    ("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes"),
)  # fmt: skip
_AS_OF = {
    "gc": "as of the last complete garbage collection, as the program's own profile",
    "now": "as of now: with what was allocated and freed since the last garbage collections",
}


def write_heap_pprof(profile: HeapProfile, stream: BinaryIO) -> None:
    """Write `profile` to `stream`, which stays open, compressed by gzip."""
    write_gzip(_fields(profile), stream)


def _fields(profile: HeapProfile) -> Iterator[bytes]:
    sites = profile.sites
    whole = WholeStacks(
        frames=profile.frames,
        real=len(profile.frames),
        offsets=profile.stack_offsets,
        stack_frames=profile.stack_frames,
        of_rows=sites.stack.astype(np.int64),
    )
    encoder = ProfileEncoder(whole)
    yield encoder.values(*_VALUES)
    yield encoder.period(("space", "bytes"), profile.rate_bytes)
    yield encoder.time(profile.taken_at)
    yield encoder.comments([f"spyglass {__version__}: heap {_AS_OF[profile.as_of]}"])
    yield encoder.mapping(profile.process)
    columns = (*profile.allocated(), *profile.in_use())
    values = zip(*(column.tolist() for column in columns), strict=True)
    for stack, size, row in zip(
        sites.stack.tolist(), sites.object_bytes.tolist(), values, strict=True
    ):
        label = encoder.number_label("bytes", size)
        yield encoder.sample(stack, b"".join(map(varint, row)), label)
    yield from encoder.tables()
