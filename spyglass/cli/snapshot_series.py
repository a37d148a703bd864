"""A series of snapshots of one process, saved one after the other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count as counting
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from spyglass.escape import visible
from spyglass.words.units import plural

if TYPE_CHECKING:
    from spyglass.cli.source_options import ReadOptions
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.procfs import CpuReading

__all__ = ["Directory", "Keeper", "Series"]

#: The interval at which the progress line is updated.
_UPDATE_SECONDS = 0.5

Report = Callable[[int, str], None]


class Keeper(Protocol):
    """What keeps the snapshots of a series."""

    def save(self, taken: Snapshot) -> None:
        """Keep `taken`, and print the names of new files."""
        ...

    def close(self) -> None:
        """Finish what is left to do."""
        ...

    def account(self, saved: int) -> str:
        """What became of `saved` snapshots."""
        ...


@dataclass
class Directory:
    """A directory with a file for each snapshot; by default it is called like the first one. `number`: of how many."""

    path: Path | None
    number: int | None
    saved: int = field(default=0, init=False)

    def save(self, taken: Snapshot) -> None:
        """Save `taken` in a file."""
        from spyglass.export.snapshot_file import default_name, new_directory, save

        if self.path is None:
            self.path = Path(default_name(taken, suffix=""))
        if not self.saved:
            new_directory(self.path)
        width = max(len(str(self.number or 0)), 4)
        file = self.path / f"{self.saved + 1:0{width}}-{default_name(taken)}"
        save(taken, file)
        self.saved += 1
        print(visible(str(file)), flush=True)  # rich moves it above the bar, unlike click.echo

    def close(self) -> None:
        """Nothing is left to do."""

    def account(self, saved: int) -> str:
        """How many snapshots are where: all that have a file, also one that an interrupt followed at once."""
        where = f" in {visible(str(self.path))}" if self.saved else ""
        return f"{plural(self.saved, 'snapshot')}{where}"


@dataclass
class Series:
    """A snapshot `every_ns`, `number` of them or until interrupted, which `keeper` keeps.

    No snapshot is skipped: one that is due while the previous one is being taken is counted as late.
    """

    every_ns: int
    number: int | None
    keeper: Keeper
    read: ReadOptions
    redact: bool = False
    saved: int = field(default=0, init=False)
    late: int = field(default=0, init=False)
    _cpu: CpuReading = field(init=False)

    def take(self, pid: int) -> None:
        """Take the series of process `pid`. Saved snapshots stay when it is interrupted or fails."""
        from spyglass.procfs import read_cpu

        self._cpu = read_cpu(pid)
        from spyglass import attach
        from spyglass.memory.allocator import keep_freed_memory

        keep_freed_memory()
        with attach(pid) as process:
            try:
                with _progress(self.number) as report:
                    self._take(partial(self._snapshot, process, pid), report)
                    report(self.saved, "")
            finally:
                self.keeper.close()
                click.echo(self._account(), err=True)

    def _snapshot(self, process: Inspector, pid: int) -> Snapshot:
        """A snapshot with the processor time since the one before it, or since the beginning."""
        from spyglass.procfs import read_cpu

        since, self._cpu = self._cpu, read_cpu(pid)
        taken = process.snapshot(
            stop=self.read.stop,
            thread_stacks=self.read.threads,
            cpu_since=since,
            waits=self.read.wait_options(),
        )
        return process.with_account(taken)

    def _account(self) -> str:
        late = f", {self.late:,} late" if self.late else ""
        return f"{self.keeper.account(self.saved)}{late}"

    def _take(self, snapshot: Callable[[], Snapshot], report: Report) -> None:
        began_ns = time.monotonic_ns()
        for index in range(self.number) if self.number is not None else counting():
            due_ns = began_ns + index * self.every_ns
            if index and time.monotonic_ns() > due_ns:
                self.late += 1
            self._wait(due_ns, report)
            self._save(snapshot())

    def _wait(self, due_ns: int, report: Report) -> None:
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            late = f"  {self.late:,} late" if self.late else ""
            report(self.saved, f"next in {left_ns / 1e9:.0f} s{late}")
            time.sleep(min(left_ns / 1e9, _UPDATE_SECONDS))
        report(self.saved, "reading")

    def _save(self, taken: Snapshot) -> None:
        from spyglass.analysis.redaction import redacted

        self.keeper.save(redacted(taken) if self.redact else taken)
        self.saved += 1


@contextmanager
def _progress(number: int | None) -> Iterator[Report]:
    """A progress bar on stderr if that is a terminal; yields a function of the number done and a text."""
    if not sys.stderr.isatty():
        yield lambda _done, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    console = Console(stderr=True, highlight=False)
    # File names go above the bar if stdout is the same terminal.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=number)
        yield lambda done, text: progress.update(task, completed=done, description=text)
