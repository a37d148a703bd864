"""What changed in the goroutines from one snapshot to a later one, as a profile that ``go tool pprof`` reads: the form of
``net/http/pprof/pprof.go: serveDeltaProfile``, which subtracts one goroutine profile from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from spyglass.analysis.grouped import grouped
from spyglass.columns import combined
from spyglass.export.pprof_encoding import ProfileEncoder, write_gzip
from spyglass.export.protobuf import varint
from spyglass.export.pseudo_frames import WholeStacks, whole_stacks
from spyglass.model import Frame, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_goroutine_delta"]

_KIND = ("goroutine", "count")

#: The frames of a stack and the pprof labels of a goroutine: what Go's own profile tells goroutines apart by.
_Key = tuple[tuple[Frame, ...], tuple[tuple[str, str], ...]]


def write_goroutine_delta(
    before: Snapshot,
    rows_before: NDArray[np.int64],
    after: Snapshot,
    rows_after: NDArray[np.int64],
    stream: BinaryIO,
) -> None:
    """Write to `stream` how many more goroutines than in these rows of `before` are in those of `after`, for each stack and set of
    labels: a negative number where there are fewer, none where there are as many."""
    change = _counts(after, rows_after)
    change.subtract(_counts(before, rows_before))
    changed = {key: count for key, count in change.most_common() if count}
    write_gzip(_fields(before, after, changed), stream)


def _counts(snapshot: Snapshot, rows: NDArray[np.int64]) -> Counter[_Key]:
    whole, labels = whole_stacks(snapshot), snapshot.goroutines.labels
    found = grouped(rows, combined(whole.of_rows[rows], labels[rows]))
    counts = np.diff(np.append(found.firsts, len(rows)))
    counted: Counter[_Key] = Counter()
    for row, count in zip(found.rows[found.firsts].tolist(), counts.tolist(), strict=True):
        stack, own = int(whole.of_rows[row]), int(labels[row])
        frames = whole.stack_frames[whole.offsets[stack] : whole.offsets[stack + 1]].tolist()
        pairs = snapshot.label_sets[own].items() if own >= 0 else ()
        counted[tuple(whole.frames[each] for each in frames), tuple(sorted(pairs))] += count
    return counted


def _fields(before: Snapshot, after: Snapshot, changed: dict[_Key, int]) -> Iterator[bytes]:
    encoder = ProfileEncoder(_stacks([frames for frames, _ in changed]))
    yield encoder.values(_KIND) + encoder.period(_KIND, 1)
    passed = after.taken_at - before.taken_at
    yield encoder.time(after.taken_at, int(passed.total_seconds() * 1e9))
    yield encoder.mapping(after.process)
    for stack, ((_, labels), count) in enumerate(changed.items()):
        encoded = b"".join(encoder.label(*pair) for pair in labels)
        yield encoder.sample(stack, varint(count), encoded)
    yield from encoder.tables()


def _stacks(stacks: list[tuple[Frame, ...]]) -> WholeStacks:
    """`stacks` with frames of both snapshots, equal ones once; pseudo frames, whose pc is 0, come last."""
    used = dict.fromkeys(frame for stack in stacks for frame in stack)
    real = [frame for frame in used if frame.pc]
    frames = (*real, *(frame for frame in used if not frame.pc))
    numbers = {frame: number for number, frame in enumerate(frames)}
    ends = np.cumsum([0, *map(len, stacks)])
    flat = np.array([numbers[frame] for stack in stacks for frame in stack], np.int32)
    return WholeStacks(frames, len(real), ends.astype(np.int64), flat, np.arange(len(stacks)))
