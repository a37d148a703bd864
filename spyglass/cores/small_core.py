"""Save the memory that a snapshot reads as a core: megabytes instead of gigabytes.

The pages are written to the file as they are read for the snapshot, so that the same is found in them
again, and so that a million goroutines need no gigabytes of memory. Where the process ran
meanwhile that may fail for some goroutines: what is found in the core is compared with what was found
in the process, and the core says which of them differ.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from spyglass.binary import corenotes
from spyglass.binary.corenotes import Note, ProcessInfo, ThreadStatus
from spyglass.cores.compare import differing
from spyglass.cores.page_file import PAGE_BYTES, PageFile
from spyglass.cores.recording import RecordingMemory
from spyglass.cores.unchanged import Resting
from spyglass.cores.writer import write_headers
from spyglass.errors import SpyglassError, TargetError
from spyglass.inspector import Inspector, SnapshotResult
from spyglass.memory.allocator import return_freed_memory
from spyglass.runtime.goroutines.consistency import Quality
from spyglass.runtime.snapshotter import Wanted
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.targets import Target
from spyglass.targets.core_executable import build_id_in, header_address
from spyglass.targets.core_metadata import CoreMetadata
from spyglass.targets.core_process import CoreProcess
from spyglass.targets.target_process import Program
from spyglass.threads.architecture import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from numpy.typing import NDArray

    from spyglass.model import Snapshot

__all__ = ["save_core"]

#: How often a process is tried that changes too much while it is read.
_TRIES = 3
#: What is read of waits: the heap would be most of the process.
_WAITS = WaitOptions(heap=False)
#: Room before the pages for the headers of some 18,000 segments, as a million goroutines have: a core
#: that is cut short has them then. A hole, which takes no place on the disk.
_HEADER_ROOM_BYTES = 1 << 20
#: An ELF file has its header and its build id in this many bytes at its beginning.
_HEADER_BYTES = 1 << 12


def save_core(target: Target, stream: BinaryIO, *, stop: bool = False) -> Snapshot:
    """Write a core of `target` with the pages that a full snapshot reads, with waits but without the heap;
    the snapshot.

    `stream` is an open file, new and empty. `stop`: stop the process while it is read, so that all
    is of one moment. Goroutines that moved meanwhile are of quality "torn" in what is returned,
    and whenever the core is read.
    """
    descriptor = stream.fileno()
    for left in reversed(range(_TRIES)):
        try:
            with PageFile(descriptor, _HEADER_ROOM_BYTES, partial(_in_file, target)) as pages:
                memory = RecordingMemory(target.memory, pages)
                result, resting = _read(replace(target, memory=memory), memory, stop)
                pages.flush()
                return _save(target, memory, result, resting, descriptor)
        except SpyglassError:
            target.process.check()
            if not left:
                raise
            os.ftruncate(descriptor, 0)
    raise AssertionError


def _read(target: Target, memory: RecordingMemory, stop: bool) -> tuple[SnapshotResult, Resting]:
    """Read what a full snapshot reads, then what waits and the stacks of threads need beside that; with the
    goroutines that rested meanwhile.

    In a running process the latter takes a while, so nothing else may change meanwhile.
    """
    inspector, resting = Inspector(target), list[Resting]()
    wanted = Wanted(waits=_WAITS, after_waits=lambda read: resting.append(Resting.of(read)))
    if stop or target.process.stopped:
        result = inspector.take(replace(wanted, thread_stacks=True), stop=stop)
    else:
        # What a goroutine waits on is read later: if it ran, its stack is not to be of that moment.
        result = inspector.take(replace(wanted, before_waits=partial(_end_first_part, memory)))
    build_id_in(
        memory, header_address(_program(target))
    )  # by which the program of the core is identified
    for registers in result.registers.values():
        if registers.stack:  # of a sample, which was taken before the rest was read
            memory.lay_over(registers.sp, registers.stack)
    memory.fix()
    if not stop and not target.process.stopped:
        result = replace(result, registers=inspector.thread_registers(result.registers))
    return result, resting[0]


def _end_first_part(memory: RecordingMemory) -> None:
    memory.fix()
    return_freed_memory()  # the waits of very many goroutines need much


def _save(
    target: Target,
    memory: RecordingMemory,
    result: SnapshotResult,
    resting: Resting,
    descriptor: int,
) -> Snapshot:
    """Make a core of the file with the pages of `memory`, of what `result` has; its snapshot."""
    pages = memory.pages
    _write_headers(target, pages, result, np.zeros(0, np.uint64), descriptor)
    doubtful = partial(resting.others, pages=pages.addresses[pages.changed])
    try:
        again = _read_again(target, descriptor, None if memory.lacks_some else doubtful)
    except SpyglassError as error:
        raise TargetError(
            f"the process changed too much while it was read: {error.message}", "try --stop"
        ) from error
    torn = differing(result.snapshot, again)
    if len(torn):
        result = replace(result, snapshot=_with_torn(result.snapshot, torn))
        _write_headers(target, pages, result, torn, descriptor)
    return result.snapshot


def _with_torn(snapshot: Snapshot, torn: NDArray[np.uint64]) -> Snapshot:
    quality = snapshot.goroutines.quality.copy()
    quality[np.isin(snapshot.goroutines.id, torn)] = Quality.TORN
    return replace(snapshot, goroutines=replace(snapshot.goroutines, quality=quality))


def _program(target: Target) -> Program:
    return Program(target.executable, target.bias, target.library)


def _write_headers(
    target: Target,
    pages: PageFile,
    result: SnapshotResult,
    torn: NDArray[np.uint64],
    descriptor: int,
) -> None:
    notes, index = _notes(target, result, torn), (pages.addresses, pages.offsets)
    write_headers(descriptor, target.executable.arch, notes, index, PAGE_BYTES)


def _in_file(target: Target, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the pages at `addresses` the program's file has, because they cannot be written to.

    Not its first, which tells which file it is.
    """
    inside = np.zeros(len(addresses), np.bool_)
    for segment in target.executable.segments:
        if not segment.writable:
            begin = (segment.address + target.bias) % (1 << 64)
            low = begin + (_HEADER_BYTES if segment.offset == 0 else 0)
            inside |= (addresses >= low) & (addresses + PAGE_BYTES <= begin + segment.file_size)
    return inside


def _notes(target: Target, result: SnapshotResult, torn: NDArray[np.uint64]) -> list[Note]:
    architecture = ARCHITECTURES[target.executable.arch]
    process, threads = result.snapshot.process, result.snapshot.threads
    name = next((thread.name for thread in threads if thread.tid == target.pid), None)
    statuses = [
        ThreadStatus(tid, 0, architecture.to_saved(registers))
        for tid, registers in sorted(result.registers.items())
    ]
    metadata = CoreMetadata.of(
        result.snapshot, result.now_ns, target.process.outer_tids(), torn.tolist()
    )
    return [
        *map(corenotes.pack_thread, statuses),
        corenotes.pack_process(ProcessInfo(target.pid, name or "", " ".join(process.cmdline))),
        corenotes.pack_auxv(target.process.auxv()),
        corenotes.pack_files(target.process.files()),
        Note(*corenotes.OWN, metadata.pack()),
    ]


def _read_again(
    target: Target,
    descriptor: int,
    only: Callable[[NDArray[np.uint64]], NDArray[np.uint64]] | None,
) -> Snapshot:
    """What is found in the core that is the open file `descriptor`, of goroutines that may not be there as they
    were (`only`, as in `Wanted`): reading all of a large file takes longer than writing it."""
    return_freed_memory()
    saved = CoreProcess(f"/proc/self/fd/{descriptor}")
    try:
        memory = saved.memory_with(_program(target))
        inspector = Inspector(replace(target, memory=memory, process=saved))
        return inspector.take(Wanted(thread_stacks=True, only=only)).snapshot
    finally:
        saved.close()
