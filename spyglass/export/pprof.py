"""Goroutines as a profile that ``go tool pprof`` reads: profile.proto, compressed by gzip.

The form is that of Go's own goroutine profile, with one value, goroutine/count. Labels tell more than Go's
profile does: those of the program, and what the goroutine does (`_STATE` and following).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

import numpy as np

from spyglass.export.pprof_encoding import ProfileEncoder, write_gzip
from spyglass.export.protobuf import varint
from spyglass.export.pseudo_frames import counted, whole_stacks
from spyglass.model import QUALITIES, STATUSES, Snapshot
from spyglass.version import __version__
from spyglass.words.states import DOUBTFUL

__all__ = ["write_pprof"]

#: The keys of our labels: the status; the wait reason; a lower bound of the wait, in steps of a minute
#: as in Go's traceback, but in seconds, which pprof knows; and torn or unreadable, if the stack is doubtful.
_STATE, _WAIT_REASON, _WAIT, _QUALITY = (
    "goroutine_state", "wait_reason", "wait_at_least", "goroutine_quality",
)  # fmt: skip
_MINUTE_NS = 60_000_000_000
_KIND = ("goroutine", "count")

#: How many encoded sets of labels, and values, are kept: a request may have labels of its own.
_LABELS_KEPT = 65536


def write_pprof(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write the profile of `snapshot` to `stream`, which stays open."""
    write_gzip(_Profile(snapshot).fields(), stream)


class _Profile:
    """The profile of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._whole = whole_stacks(snapshot)
        self._encoder = ProfileEncoder(self._whole)
        self._labels = lru_cache(_LABELS_KEPT)(self._encoded_labels)
        self._value = lru_cache(_LABELS_KEPT)(varint)

    def fields(self) -> Iterator[bytes]:
        """The fields of the profile."""
        encoder = self._encoder
        yield encoder.values(_KIND) + encoder.period(_KIND, 1)
        yield encoder.time(self._snapshot.taken_at)
        yield encoder.comments([self._comment()]) + encoder.mapping(self._snapshot.process)
        yield from self._samples()
        yield from encoder.tables()

    def _comment(self) -> str:
        process = self._snapshot.process
        version = process.go_version or "unknown Go version"
        return f"spyglass {__version__}: goroutines of process {process.pid}, {version}"

    def _samples(self) -> Iterator[bytes]:
        """One sample for all goroutines with one stack and the same labels, the largest first."""
        g = self._snapshot.goroutines
        minutes = np.maximum(g.waiting_ns, 0) // _MINUTE_NS
        quality = np.where(np.isin(g.quality, DOUBTFUL), g.quality, 0)
        columns = (g.labels, g.status, g.wait_reason, minutes, quality)
        counts, rows = counted(self._snapshot, self._whole.of_rows, *columns)
        stacks = self._whole.of_rows[rows].tolist()
        keys = zip(*(column[rows].tolist() for column in columns), strict=True)
        for stack, count, key in zip(stacks, counts.tolist(), keys, strict=True):
            yield self._encoder.sample(stack, self._value(count), self._labels(key))

    def _encoded_labels(self, key: tuple[int, ...]) -> bytes:
        labels, status, reason, minutes, quality = key
        encoder = self._encoder
        own = dict(self._snapshot.label_sets[labels]) if labels >= 0 else {}
        encoded = [encoder.label(key, value) for key, value in own.items()]
        encoded.append(encoder.label(_STATE, STATUSES[status]))
        if reason >= 0:
            encoded.append(encoder.label(_WAIT_REASON, self._snapshot.wait_reasons[reason]))
        if minutes:
            encoded.append(encoder.number_label(_WAIT, 60 * minutes, "seconds"))
        if quality:
            encoded.append(encoder.label(_QUALITY, QUALITIES[quality]))
        return b"".join(encoded)
