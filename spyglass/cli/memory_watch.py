"""``spyglass memory --watch``: readings of a process's memory for a while, what follows from them, and limits of the
user's."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.fail_on import Limit, exit_beyond, fail_on_option, headroom_beyond
from spyglass.cli.source_options import watch_seconds

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.memory_account import MemoryAccount
    from spyglass.memory_limits import MemoryForecast, MemoryLimits, MemoryReading

__all__ = ["WatchOptions", "watch_options"]

Command = Callable[..., None]

#: Readings in each period. They take some milliseconds each.
_READINGS = 20
#: Of more readings than this every other one is left out.
_MAX_READINGS = 400
_MIN_SECONDS = 0.05


@dataclass(frozen=True)
class WatchOptions:
    """For how many seconds memory is watched before it is shown, how often that is done, and what must not be exceeded."""

    seconds: float | None
    count: int
    limits: tuple[Limit, ...]

    @property
    def wanted(self) -> bool:
        """Whether memory is watched or judged."""
        return self.seconds is not None or bool(self.limits)

    def accounts(self, program: Inspector) -> Iterator[MemoryAccount]:
        """The account of `program`, and again after each period that it is watched, until Ctrl-C. Exits with the status for an
        exceeded limit behind the last one if that is beyond one."""
        watch, account = MemoryWatch(program), None
        for _ in range(self.count):
            goes_on = self.seconds is None or watch.run(self.seconds)
            account = replace(program.memory_account(), forecast=watch.forecast())
            yield account
            if not goes_on:
                break
        if account is not None:
            self.judge(account.limits)

    def judge(self, known: MemoryLimits | None) -> None:
        """Exit with the status for an exceeded limit if less is left of one of `known` than must be."""
        exit_beyond(headroom_beyond(known, self.limits))


@dataclass
class MemoryWatch:
    """The readings of `program` so far."""

    program: Inspector
    readings: list[MemoryReading] = field(default_factory=list)

    def run(self, seconds: float) -> bool:
        """Take readings for so long, or until Ctrl-C: then it returns False."""
        with suppress(KeyboardInterrupt):
            self._run(seconds)
            return True
        return False

    def _run(self, seconds: float) -> None:
        begin = time.monotonic()
        number = max(min(_READINGS, int(seconds / _MIN_SECONDS)), 1)
        if not self.readings:
            self.readings.append(self.program.memory_reading())
        for index in range(1, number + 1):
            left = begin + index * seconds / number - time.monotonic()
            _progress(seconds - (index - 1) * seconds / number)
            time.sleep(max(left, 0))
            self.readings.append(self.program.memory_reading())
        _progress(None)
        if len(self.readings) > _MAX_READINGS:
            self.readings = _thinned(self.readings)

    def forecast(self) -> MemoryForecast | str:
        """What follows from all readings so far."""
        from spyglass.analysis.memory_forecast import forecast

        return forecast(self.readings)


def _thinned(readings: Sequence[MemoryReading]) -> list[MemoryReading]:
    """Every other one, with the last."""
    return list(readings[::-1][::2][::-1])


def _progress(left: float | None) -> None:
    """Say on a terminal for how many seconds it goes on; None: nothing more."""
    if sys.stderr.isatty():
        said = "" if left is None else f"watching memory: {left:.0f} s left"
        click.echo(f"\r{said}\x1b[K", err=True, nl=False)


def watch_options(command: Command) -> Command:
    """Add --watch, --count and --fail-on: calls the command with ``watch``, a `WatchOptions`."""

    @fail_on_option("headroom")
    @click.option(
        "--watch", "watch_s", callback=watch_seconds, metavar="DURATION",
        help="Watch memory for DURATION first, and say when a limit is met if it goes on growing.",
    )  # fmt: skip
    @click.option(
        "--count", type=click.IntRange(min=1), metavar="N",
        help="With --watch: show the state N times, each after DURATION.",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(
        watch_s: float | None, count: int | None, limits: tuple[Limit, ...], **others: Any
    ) -> None:
        if count is not None and watch_s is None:
            raise click.UsageError("--count requires --watch")
        command(watch=WatchOptions(watch_s, count or 1, limits), **others)

    decorated: Command = wrapper
    return decorated
