"""A series of recordings of one process, each saved in a file of a directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count as counting
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.cli.push_options import Send
from spyglass.cli.record_options import ProfileOutput, RecordOptions, SeriesOptions
from spyglass.cli.recording import attached, ending_signals, progress, record_for
from spyglass.errors import NoMatch, ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.escape import visible
from spyglass.words.profile_account import account_warnings
from spyglass.words.units import plural

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.profile import Profile

__all__ = ["RecordingSeries"]

#: The time between two looks at the process and at signals.
_LOOK_SECONDS = 0.25


@dataclass
class RecordingSeries:
    """Recordings as `series` says, until the process ends or a signal comes. `chosen` filters their samples;
    `send` sends each, too.

    None is skipped: one that is due while the one before it is being written is counted as late.
    """

    series: SeriesOptions
    options: RecordOptions
    output: ProfileOutput
    chosen: Callable[[Profile], Profile]
    send: Send | None = None
    saved: int = field(default=0, init=False)
    late: int = field(default=0, init=False)
    ended: str | None = field(default=None, init=False)
    _directory: Path | None = field(default=None, init=False)

    def record(self, target: int | Sequence[str]) -> None:
        """Record process `target`, or the program that this command starts. What is saved stays."""
        with attached(target) as process:
            try:
                with ending_signals() as signals:
                    self._record(process, signals)
            finally:
                click.echo(self._account(), err=True)

    def _record(self, process: Inspector, signals: list[str]) -> None:
        began = time.monotonic()
        numbers = counting(1) if self.series.count is None else range(1, self.series.count + 1)
        for number in numbers:
            if not self._wait(process, began + (number - 1) * self.series.every_ns / 1e9, signals):
                return
            save = partial(self._write, number)
            try:
                profile = record_for(process, self.options, self.options.seconds(), save, signals)
            except (ProcessChanged, ProcessNotFound) as error:  # since the look at it a moment ago
                if not self.saved:
                    raise
                self.ended = error.message
                return
            self._keep(number, profile)
            self.ended = profile.account.ended
            if self.ended is not None:
                return

    def _wait(self, process: Inspector, due: float, signals: list[str]) -> bool:
        """Wait until `due` (CLOCK_MONOTONIC, s); False if the process or the user ended the series."""
        self.late += due < time.monotonic() and self.saved > 0
        with progress(None) as show:
            while not signals and self._is_there(process):
                left = due - time.monotonic()
                if left <= 0:
                    return True
                show(0, f"{plural(self.saved, 'profile')}  next in {left:.0f} s")
                time.sleep(min(left, _LOOK_SECONDS))
        self.ended = f"by {signals[0]}" if signals else self.ended
        return False

    def _is_there(self, process: Inspector) -> bool:
        try:
            process.check()
        except (ProcessChanged, ProcessNotFound) as error:
            self.ended = error.message
        return self.ended is None

    def _keep(self, number: int, profile: Profile) -> None:
        """Write `profile`, and say what is wrong with it."""
        try:
            path = self._write(number, profile)
        except NoMatch as error:
            click.echo(f"profile {number}: {error.message}", err=True)
            return
        self.saved += 1
        print(visible(str(path)), flush=True)
        for warning in account_warnings(profile):
            click.echo(visible(f"warning: {path.name}: {warning}"), err=True)
        self._send(profile)

    def _send(self, profile: Profile) -> None:
        """Send `profile`, which is in a file in any case."""
        if self.send is None:
            return
        try:
            self.send(self.output.shown(self.chosen(profile)))
        except SpyglassError as error:
            click.echo(visible(error.message), err=True)

    def _write(self, number: int, profile: Profile) -> Path:
        from spyglass.export.snapshot_file import new_directory

        profile = self.output.shown(self.chosen(profile))
        name = self.output.name(profile)
        if self._directory is None:
            stem = name.removesuffix(self.output.exporter.extensions[0])
            self._directory = Path(self.output.path or stem)
        new_directory(self._directory)
        path = self._directory / f"{number:0{self.series.digits}}-{name}"
        replace(self.output, path=str(path)).write(profile)
        return path

    def _account(self) -> str:
        where = f" in {visible(str(self._directory))}" if self.saved else ""
        late = f", {self.late:,} late" if self.late else ""
        ended = f"; ended early: {visible(self.ended)}" if self.ended else ""
        return f"{plural(self.saved, 'profile')}{where}{late}{ended}"
