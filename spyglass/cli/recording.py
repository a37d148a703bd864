"""Record a process, or a program that is started for it, with a progress line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import click

from spyglass.cli.autosave import Autosave
from spyglass.cli.record_options import RecordOptions
from spyglass.errors import ProcessNotFound, SpyglassError, TargetError
from spyglass.words.profile_account import FEW_SAMPLES

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.profile import Profile
    from spyglass.runtime.recording.session import Recording
    from spyglass.runtime.scheduler_watch import SchedulerWatch

__all__ = [
    "Progressing", "Save", "attached", "ending_signals", "finished", "progress", "progress_text", "record_for", "record_target",
]  # fmt: skip

#: How long the recorder works between two looks at the clock and at signals.
_STEP_SECONDS = 0.25
#: A program that was just started has no Go runtime yet.
_START_SECONDS = 3.0
_RETRY_SECONDS = 0.01
#: What a program that was started has to end after SIGTERM.
_END_SECONDS = 5.0

Show = Callable[[float, str], None]
Save = Callable[["Profile"], object]


class Progressing(Protocol):
    """How far a recording is."""

    @property
    def elapsed_ns(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def coverage(self) -> float | None: ...
    @property
    def lost(self) -> int: ...
    @property
    def behind_ns(self) -> int: ...


def record_target(
    target: int | Sequence[str], options: RecordOptions, save: Save | None
) -> tuple[Profile, list[str] | None]:
    """The profile of process `target`, or of the program that this command starts, which is ended with the recording; and
    what hindered goroutines from running meanwhile, in words, None if that is not known.

    Ctrl-C, SIGTERM and the end of the process end it early. Meanwhile `save` is called now and then, in a child
    process, with what there is.
    """
    began = datetime.now(UTC)
    started = not isinstance(target, int)
    with attached(target) as process, ending_signals() as signals:
        seconds = options.seconds(started=started)
        watch = process.watch()
        profile = record_for(process, options, seconds, save, signals)
        hindrances = _hindrances(process, watch)
    if started:
        late = (profile.started_at - began).total_seconds()
        click.echo(f"recording began {1e3 * late:.0f} ms after the start of the program", err=True)
    return profile, hindrances


def _hindrances(process: Inspector, watch: SchedulerWatch) -> list[str] | None:
    """What hindered goroutines from running during `watch`, in words; None if that is not known."""
    from spyglass.analysis.findings import watched_findings

    try:
        found = watched_findings(process.snapshot("top", watch=watch))
    except SpyglassError:  # it ends now
        return None
    return [f"{finding.severity}: {finding.title}" for finding in found]


@contextmanager
def attached(target: int | Sequence[str]) -> Iterator[Inspector]:
    """Process `target`, or the program that this command starts, which ends with the block."""
    from spyglass import attach  # takes long, and the program begins without us
    from spyglass.memory.allocator import keep_freed_memory

    keep_freed_memory()
    if isinstance(target, int):
        with attach(target) as process:
            yield process
        return
    with _started(target) as program, _attached(program, attach) as process:
        yield process


def record_for(
    process: Inspector,
    options: RecordOptions,
    seconds: float | None,
    save: Save | None,
    signals: Sequence[str],
) -> Profile:
    """Record for `seconds`, or until the process ends, or there are `signals`."""
    with process.recording(**options.recorder_options()) as recording:
        return finished(recording, seconds, save, signals)


def finished(
    recording: Recording, seconds: float | None, save: Save | None, signals: Sequence[str]
) -> Profile:
    """What `recording` has after `seconds`, or when the process ends, or there are `signals`."""
    autosave = Autosave(recording, save)
    until = None if seconds is None else time.monotonic() + seconds
    with autosave, progress(seconds) as show:
        while recording.ended is None and not signals:
            left = _STEP_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                break
            now = recording.step(min(left, _STEP_SECONDS))
            show(now.elapsed_ns / 1e9, progress_text(now, seconds))
            autosave.look()
        profile = recording.finish()
    profile = autosave.counted(profile)
    if signals and profile.account.ended is None:
        profile = replace(profile, account=replace(profile.account, ended=f"by {signals[0]}"))
    return profile


@contextmanager
def ending_signals() -> Iterator[list[str]]:
    """The names of the signals that asked to end; a second one ends spyglass itself."""
    received: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The program that `command` starts, which ends with the block."""
    try:
        program = subprocess.Popen(command)
    except OSError as error:
        raise SpyglassError(f"cannot start {command[0]}: {error.strerror}") from None
    try:
        yield program
    finally:
        _end(program)


def _end(program: subprocess.Popen[bytes]) -> None:
    if program.poll() is None:
        program.terminate()
        with suppress(subprocess.TimeoutExpired):
            program.wait(_END_SECONDS)
    if program.poll() is None:
        program.kill()
    program.wait()


def _attached(program: subprocess.Popen[bytes], attach: Callable[[int], Inspector]) -> Inspector:
    """The Go runtime of `program`, which is there shortly after the start."""
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            return attach(program.pid)
        except TargetError as error:
            if program.poll() is not None:
                status = program.returncode
                raise ProcessNotFound(f"the program ended at once, with status {status}") from error
            if time.monotonic() > until:
                raise
        time.sleep(_RETRY_SECONDS)


@contextmanager
def progress(seconds: float | None) -> Iterator[Show]:
    """A progress bar on stderr if that is a terminal; yields a function of the seconds done and a text."""
    if not sys.stderr.isatty():
        yield lambda _done, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    console = Console(stderr=True, highlight=False)
    # Without rich's thread: samples are proven by what is read within microseconds.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=seconds)
        yield lambda done, text: bar.update(task, completed=done, description=text, refresh=True)


def progress_text(now: Progressing, seconds: float | None) -> str:
    """``4 of 10 s  396 samples  coverage 99 %  lost 0``, and how far reading is behind if that matters."""
    whole = "" if seconds is None else f" of {seconds:g}"
    parts = [f"{now.elapsed_ns / 1e9:.0f}{whole} s", f"{now.samples:,} samples"]
    if now.coverage is not None and now.samples >= FEW_SAMPLES:
        parts.append(f"coverage {100 * now.coverage:.0f} %")
    parts.append(f"lost {now.lost:,}")
    if now.behind_ns > 10**9:
        parts.append(f"behind {now.behind_ns / 1e9:.0f} s")
    return "  ".join(parts)
