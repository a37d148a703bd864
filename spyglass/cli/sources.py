"""The kinds of sources of snapshots: a running process, a core file, a saved snapshot.

Only this module knows them; a command takes a `Source` and calls `Source.snapshot`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import click

from spyglass.errors import BadDataError, SpyglassError

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.runtime.scheduler_watch import SchedulerWatch
    from spyglass.runtime.waiting.options import WaitOptions

__all__ = ["CoreSource", "ProcessSource", "SavedSource", "Source", "Stacks"]

Stacks = Literal["top", "full"]


class Source(Protocol):
    """A source of snapshots."""

    def snapshot(
        self,
        stacks: Stacks = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
        waits: WaitOptions | None = None,
        account: bool = False,
    ) -> Snapshot:
        """Take a snapshot; the parameters are those of `spyglass.inspector.Inspector.snapshot`, and `account`: with the account
        of memory (`spyglass.inspector.Inspector.with_account`)."""
        ...


@dataclass(frozen=True)
class ProcessSource:
    """A running process; with `watch_s`, its scheduler is watched for so many seconds first, or until Ctrl-C."""

    pid: int
    watch_s: float | None = None

    def snapshot(
        self,
        stacks: Stacks = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
        waits: WaitOptions | None = None,
        account: bool = False,
    ) -> Snapshot:
        """Its state now, and the processor time that it uses while spyglass starts and reads it."""
        from spyglass.procfs import read_cpu

        since = read_cpu(self.pid)  # before the imports, which take most of a short command's time
        from spyglass import attach
        from spyglass.memory.allocator import keep_freed_memory

        keep_freed_memory()
        with attach(self.pid) as process:
            watch = None if self.watch_s is None else _watched(process, self.watch_s)
            snapshot = process.snapshot(
                stacks, stop=stop, thread_stacks=thread_stacks, cpu_since=since, waits=waits, watch=watch
            )  # fmt: skip
            return process.with_account(snapshot) if account else snapshot


@dataclass(frozen=True)
class CoreSource:
    """A core file, and its executable if that has moved."""

    path: str
    exe: str | None = None

    def snapshot(
        self,
        stacks: Stacks = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
        waits: WaitOptions | None = None,
        account: bool = False,
    ) -> Snapshot:
        """The state of the process when the core was written."""
        if stop:
            raise click.UsageError("--stop cannot be used with --core")
        from spyglass import open_core

        try:
            with open_core(self.path, self.exe) as process:
                snapshot = process.snapshot(stacks, thread_stacks=thread_stacks, waits=waits)
                return process.with_account(snapshot) if account else snapshot
        except FileNotFoundError:
            raise SpyglassError(f"no such file: {self.path}") from None


@dataclass(frozen=True)
class SavedSource:
    """A file that ``spyglass snapshot`` or ``spyglass report`` wrote; ``-`` is standard input."""

    path: str
    max_bytes: int | None = None

    def snapshot(
        self,
        stacks: Stacks = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
        waits: WaitOptions | None = None,
        account: bool = False,
    ) -> Snapshot:
        """The snapshot in the file, with the stacks, waits and account that were saved."""
        if stop:
            raise click.UsageError("--stop cannot be used with a saved snapshot")
        from spyglass.export.decompress import MAX_BYTES
        from spyglass.export.snapshot_reader import load

        limit = MAX_BYTES if self.max_bytes is None else self.max_bytes
        try:
            snapshot = load(sys.stdin.buffer if self.path == "-" else self.path, max_bytes=limit)
        except FileNotFoundError:
            raise SpyglassError(f"no such file: {self.path}") from None
        except BadDataError as error:
            from spyglass.export.file_kinds import not_a_snapshot

            raise not_a_snapshot(self.path) or error from None
        return _noting_missing_stacks(snapshot) if stacks == "full" else snapshot


def _watched(process: Inspector, seconds: float) -> SchedulerWatch:
    """A watch of `process` that has lasted so many seconds, or until Ctrl-C."""
    watch = process.watch()
    with suppress(KeyboardInterrupt):
        watch.run(seconds)
    return watch


def _noting_missing_stacks(snapshot: Snapshot) -> Snapshot:
    """`snapshot`, with a problem if it was saved without whole stacks."""
    if len(snapshot.stack_frames) or not len(snapshot.goroutines):
        return snapshot
    from spyglass.model import Problem

    problem = Problem("unknown", "stacks", "saved without whole stacks")
    return replace(snapshot, problems=(*snapshot.problems, problem))
