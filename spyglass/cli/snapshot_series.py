"""Snapshots of one process, one after another, saved in a directory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count as counting
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.cli.source_options import ReadOptions
    from spyglass.model import Snapshot

__all__ = ["Series"]

#: ReadOptions often who waits is told for how long yet.
_TOLD_EVERY_SECONDS = 0.5

Tell = Callable[[int, str], None]


@dataclass
class Series:
    """Snapshots `every_ns`, `number` of them or until interrupted, each a file in `directory`.

    None of them is left out: one whose time came while the one before was taken is late, and is
    counted as such.
    """

    every_ns: int
    number: int | None
    directory: Path | None
    how: ReadOptions
    redact: bool = False
    saved: int = field(default=0, init=False)
    late: int = field(default=0, init=False)

    def take(self, pid: int) -> None:
        """Take them of process `pid`; those that were saved stay, whatever ends it."""
        from spyglass import attach

        how = self.how
        with attach(pid) as process:
            try:
                with _progress(self.number) as tell:
                    self._take(
                        partial(process.snapshot, stop=how.stop, thread_stacks=how.threads), tell
                    )
                    tell(self.saved, "")
            finally:
                click.echo(self._account(), err=True)

    def _account(self) -> str:
        late = f", {self.late:,} late" if self.late else ""
        where = f" in {visible(str(self.directory))}" if self.saved else ""
        return f"{self.saved:,} snapshot{'' if self.saved == 1 else 's'}{where}{late}"

    def _take(self, snapshot: Callable[[], Snapshot], tell: Tell) -> None:
        began_ns = time.monotonic_ns()
        for index in range(self.number) if self.number is not None else counting():
            due_ns = began_ns + index * self.every_ns
            if index and time.monotonic_ns() > due_ns:
                self.late += 1
            self._wait(due_ns, tell)
            self._save(snapshot())

    def _wait(self, due_ns: int, tell: Tell) -> None:
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            late = f"  {self.late:,} late" if self.late else ""
            tell(self.saved, f"next in {left_ns / 1e9:.0f} s{late}")
            time.sleep(min(left_ns / 1e9, _TOLD_EVERY_SECONDS))
        tell(self.saved, "reading")

    def _save(self, taken: Snapshot) -> None:
        from spyglass.analysis.redaction import redacted
        from spyglass.export.snapshot_file import default_name, new_directory, save

        if self.redact:
            taken = redacted(taken)
        if self.directory is None:
            self.directory = Path(default_name(taken, suffix=""))
        if not self.saved:
            new_directory(self.directory)
        width = max(len(str(self.number or 0)), 4)
        path = self.directory / f"{self.saved + 1:0{width}}-{default_name(taken)}"
        save(taken, path)
        self.saved += 1
        print(visible(str(path)), flush=True)  # which goes above the bar; click's echo would not


@contextmanager
def _progress(number: int | None) -> Iterator[Tell]:
    """A bar on stderr if that is a terminal, and what to tell it: how many are done, and what goes on."""
    if not sys.stderr.isatty():
        yield lambda done, words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    console = Console(stderr=True, highlight=False)
    # What is printed meanwhile goes above the bar, unless it goes elsewhere.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=number)
        yield lambda done, words: progress.update(task, completed=done, description=words)
