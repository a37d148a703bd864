"""A process in a core file: its memory, and what the core's notes tell of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.corefile import CoreFile
from spyglass.binary.corenotes import MappedFile
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.segmented import Layer, MissingBytes, SegmentedMemory
from spyglass.model import Problem
from spyglass.targets.core_metadata import CoreMetadata
from spyglass.targets.initial_stack import arguments, executed_path
from spyglass.targets.target_process import AT_ENTRY, Facts, OsThread, Program, TargetProcess
from spyglass.threads.architecture import ARCHITECTURES, Registers

if TYPE_CHECKING:
    from spyglass.memory.base import Memory
    from spyglass.wait_graph import Connection

__all__ = ["CoreProcess"]


class _Thread(NamedTuple):
    tid: int
    name: str | None
    os_state: str | None


class CoreProcess(TargetProcess):
    """The process in the core at `path`. Raises what `CoreFile` raises.

    `memory` is what the core itself has of it.
    """

    kind = "core"
    stopped = True

    def __init__(self, path: str) -> None:
        self.core = CoreFile(path)
        try:
            self.memory = SegmentedMemory(self._layers())
            self.metadata = CoreMetadata.parse(self.core.own) if self.core.own else None
            self.pid = self._find_pid()
            self.problems = tuple(self._find_problems())
            if self.metadata is not None:
                self.stopped, self.torn = self.metadata.stopped, self.metadata.torn
                self.moved = self.metadata.moved
            self.foreign_tids = self.stopped
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.core.close()

    def memory_with(self, program: Program) -> SegmentedMemory:
        """The memory of the process: what the core leaves out is as in the file of `program`.

        Of what could be written to that holds only where a core is known to leave out nothing else:
        spyglass's own have only the pages that it read.
        """
        segments = np.array(
            [
                ((segment.address + program.bias) % (1 << 64), segment.file_size, segment.offset)
                for segment in program.executable.segments
                if self.metadata is None or not segment.writable
            ],
            np.uint64,
        )
        image = program.executable.image
        return SegmentedMemory([*self._layers(), Layer(image, *segments.reshape(-1, 3).T)])

    def _layers(self) -> list[Layer]:
        """What is in the file, and what should be and was cut off, which nothing else knows better."""
        sources = (
            (self.core.segments, self.core.image),
            (self.core.missing, MissingBytes()),
        )
        return [
            Layer(source, headers["address"], headers["file_size"], headers["offset"])
            for headers, source in sources
        ]

    def facts(self) -> Facts:
        """What is known of it; but for the program and its arguments nothing, if spyglass did not save it."""
        if self.metadata is not None:
            return self.metadata.facts
        return Facts(exe=self.program_path, cmdline=self._command_line())

    @cached_property
    def program_path(self) -> str | None:
        """Where its program was; None if the core does not say."""
        if self.metadata is not None:
            return self.metadata.facts.exe
        entry = self.core.auxv.get(AT_ENTRY, 0)
        mapped = (file.path for file in self.core.files if file.start <= entry < file.end)
        path = next(mapped, None) or executed_path(self.core, self.memory)
        return path.removesuffix(" (deleted)") if path else None

    def _command_line(self) -> tuple[str, ...]:
        """Its arguments as they were on its first stack, else the beginning that a note has."""
        try:
            return arguments(self.core, self.memory)
        except (BadDataError, MemoryFault):
            return tuple(self.core.process.arguments.split()) if self.core.process else ()

    def threads(self) -> Sequence[OsThread]:
        """The threads by id; if spyglass did not save it, without names and states."""
        if self.metadata is not None:
            return [_Thread(*each) for each in self.metadata.threads]
        return [_Thread(tid, None, None) for tid in sorted({t.tid for t in self.core.threads})]

    def outer_tids(self) -> Mapping[int, int] | None:
        """As it was, if spyglass saved it: other cores do not tell."""
        return self.metadata.outer_tids if self.metadata is not None else None

    def stop(self) -> AbstractContextManager[None]:
        """Nothing in it runs."""
        return nullcontext()

    def saved_registers(self) -> Mapping[int, Registers]:
        """The registers of all its threads, by thread id (NT_PRSTATUS)."""
        architecture = ARCHITECTURES[self.core.arch]
        return {
            thread.tid: architecture.from_saved(thread.tid, thread.words)
            for thread in self.core.threads
        }

    def registers(self, tids: Sequence[int]) -> dict[int, Registers]:
        """Those of `saved_registers` that `tids` names."""
        saved = self.saved_registers()
        return {tid: saved[tid] for tid in tids if tid in saved}

    def native_names(self, memory: Memory) -> Callable[[int], str]:
        """Names of file and offset: ``libc.so.6+0x1f``."""
        files = self.files()

        def describe(pc: int) -> str:
            for file in files:
                if file.start <= pc < file.end:
                    return f"{os.path.basename(file.path)}+{pc - file.start + file.offset:#x}"
            return f"{pc:#x}"

        return describe

    def taken_at(self) -> datetime:
        """When it was saved, or if that is not known when the file was written."""
        if self.metadata is not None:
            return self.metadata.taken_at
        return datetime.fromtimestamp(self.core.written_at, UTC)

    def now_ns(self) -> int | None:
        """What the clock said, if spyglass saved it: other cores do not tell."""
        return self.metadata.now_ns if self.metadata is not None else None

    def auxv(self) -> dict[int, int]:
        """The auxiliary vector: types of getauxval(3) and their values."""
        return self.core.auxv

    def files(self) -> Sequence[MappedFile]:
        """The files that were mapped."""
        return self.core.files

    def connections(self, fds: Iterable[int]) -> Mapping[int, Connection]:
        """As it was, if spyglass saved it: other cores do not tell."""
        known = self.metadata.connections if self.metadata is not None else {}
        return {fd: known[fd] for fd in fds if fd in known}

    def _find_pid(self) -> int:
        if self.core.process is not None:
            return self.core.process.pid
        return self.core.threads[0].tid if self.core.threads else 0

    def _find_problems(self) -> list[Problem]:
        missing = sum(self.core.missing["file_size"].tolist())
        if not missing:
            return []
        detail = f"the file was cut short: {missing} bytes of memory are missing"
        return [Problem("truncated", "core", detail)]
