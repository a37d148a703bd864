"""A part of a snapshot, as a snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.wait_index import WaitIndex
from spyglass.columns import among
from spyglass.model import NONE, CpuUse, Goroutines, Snapshot, Thread
from spyglass.words.population import Population

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.wait_graph import WaitGraph

__all__ = ["part", "subset", "waits_of"]


def part(snapshot: Snapshot, rows: NDArray[np.int64]) -> Snapshot:
    """`snapshot` itself if `rows` are all of its goroutines, else its `subset`."""
    return snapshot if len(rows) == len(snapshot.goroutines) else subset(snapshot, rows)


def subset(snapshot: Snapshot, rows: NDArray[np.int64]) -> Snapshot:
    """`snapshot` with no goroutines but `rows`, and with the stacks and frames that those have.

    It has the number of goroutines before filters too, and what these wait on and who holds that. All else is
    that of the whole program.
    """
    whole = Population.whole(snapshot)
    chosen = snapshot.goroutines.select(rows)
    stacks, numbers = _used(len(snapshot.stack_offsets) - 1, chosen.stack)
    offsets, stack_frames = _cut_out(snapshot, stacks)
    of_threads = np.array([i for each in snapshot.threads for i in each.stack or ()], np.int32)
    of_frames = {
        name: getattr(chosen, name)
        for name, column in Goroutines.columns().items()
        if column.index_of == "frames"
    }
    of_samples = np.array(_sampled(snapshot), np.int32)
    frames, places = _used(
        len(snapshot.frames), stack_frames, of_threads, of_samples, *of_frames.values()
    )
    renumbered = {name: places[column] for name, column in of_frames.items()}
    return replace(
        snapshot,
        threads=tuple(_renumbered(each, places) for each in snapshot.threads),
        goroutines=replace(chosen, stack=numbers[chosen.stack], **renumbered),
        frames=tuple(snapshot.frames[frame] for frame in frames.tolist()),
        stack_offsets=offsets,
        stack_frames=places[stack_frames],
        elided={int(numbers[i]): gap for i, gap in snapshot.elided.items() if numbers[i] != NONE},
        matched_of=whole.user + whole.system,
        matched_of_system=whole.system,
        cpu=snapshot.cpu and _with_samples(snapshot.cpu, places),
        waits=snapshot.waits and waits_of(snapshot.waits, chosen.id),
    )


def waits_of(graph: WaitGraph, goroutines: NDArray[np.uint64]) -> WaitGraph:
    """`graph` with no goroutines but these, those that hold what they wait on, those that hold what these
    wait on, and so on, and with no objects but those that they wait on or hold."""
    ids = WaitIndex(graph).reached_from(goroutines)
    waits = graph.waits.select(among(graph.waits.goroutine, ids))
    held = graph.holders.select(among(graph.holders.goroutine, ids))
    objects, numbers = _used(len(graph.objects), waits.object, held.object)
    holders = graph.holders.select(numbers[graph.holders.object] != NONE)
    return replace(
        graph,
        objects=graph.objects.select(objects),
        waits=replace(waits, object=numbers[waits.object]),
        holders=replace(holders, object=numbers[holders.object]),
        unresolved=graph.unresolved.select(among(graph.unresolved.goroutine, ids)),
        stuck=graph.stuck.select(among(graph.stuck.goroutine, ids)),
    )


def _sampled(snapshot: Snapshot) -> list[int]:
    """The frames that samples of running threads name."""
    samples = snapshot.cpu.samples if snapshot.cpu is not None else ()
    return [sample.where for sample in samples if sample.where is not None]


def _with_samples(use: CpuUse, places: NDArray[np.int32]) -> CpuUse:
    samples = (
        sample if sample.where is None else replace(sample, where=int(places[sample.where]))
        for sample in use.samples
    )
    return replace(use, samples=tuple(samples))


def _used(count: int, *columns: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which of `count` things `columns` have indices of, and the new number of each; `NONE` stays."""
    used = np.zeros(count + 1, np.bool_)
    for column in columns:
        used[column] = True
    used[NONE] = False
    numbers = np.where(used, np.cumsum(used) - 1, NONE).astype(np.int32)
    return np.flatnonzero(used), numbers


def _renumbered(thread: Thread, places: NDArray[np.int32]) -> Thread:
    if thread.stack is None:
        return thread
    return replace(thread, stack=tuple(places[list(thread.stack)].tolist()))


def _cut_out(
    snapshot: Snapshot, stacks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The offsets and frames of `stacks` alone."""
    begins, lengths = snapshot.stack_offsets[stacks], np.diff(snapshot.stack_offsets)[stacks]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return offsets, snapshot.stack_frames[np.repeat(begins, lengths) + within]
