"""Save what was recorded so far while the recording goes on, so that a crash loses seconds.

A child process writes the file. Samples are proven by what is read within microseconds of them, and a file takes tenths
of a second to make: fork(2), which gives the child the recording as it is, takes milliseconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import click

from spyglass.errors import NoMatch
from spyglass.threads.priority import set_slice

if TYPE_CHECKING:
    from spyglass.profile import Profile
    from spyglass.runtime.recording.session import Recording

__all__ = ["Autosave"]

#: The time between two savings; more if one takes more than `_MAX_SHARE` of a processor in that time.
_SECONDS = 5.0
_MAX_SHARE = 0.04
#: Of the child (nice(2)): it must not take the processor from the reader, nor much from the program.
_NICE = 5


class Autosave:
    """Calls `write`, unless it is None, with what `recording` has so far, now and then, in a child process. Use it in a
    with statement: it ends when the child has."""

    def __init__(self, recording: Recording, write: Callable[[Profile], object] | None) -> None:
        self._recording = recording
        self._write = write
        self._child: int | None = None
        self._cpu_ns = 0
        self._has_failed = False
        self._next = float("inf") if write is None else time.monotonic() + _SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._child is not None:
            self._reap(0)

    def look(self) -> None:
        """Save it if it is time for that: call it between two steps of the recording."""
        if self._child is not None:
            self._reap(os.WNOHANG)
        if self._child is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            self._recording.settle()
            try:
                self._child = os.fork() or self._written()
            except OSError:  # no memory, or too many processes
                self._fail()

    def counted(self, profile: Profile) -> Profile:
        """`profile` with the processor time that saving took in its account."""
        account = profile.account
        own_ns = None if account.own_cpu_ns is None else account.own_cpu_ns + self._cpu_ns
        return replace(profile, account=replace(account, own_cpu_ns=own_ns))

    def _written(self) -> int:
        """What the child does; it ends here."""
        status = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to the child too
                signal.signal(number, signal.SIG_IGN)
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
            set_slice(0)
            with suppress(NoMatch):
                assert self._write is not None
                self._write(self.counted(self._recording.so_far(settled=True)))
            status = 0
        finally:
            os._exit(status)

    def _reap(self, flags: int) -> None:
        """Note that the child has ended, and what it took; `flags` of waitpid(2)."""
        assert self._child is not None
        try:
            pid, status, usage = os.wait4(self._child, flags)
        except (
            ChildProcessError
        ):  # whoever started spyglass ignores SIGCHLD: nothing is known of children
            self._child = None
            return
        if not pid:
            return
        self._child = None
        seconds = usage.ru_utime + usage.ru_stime
        self._cpu_ns += round(seconds * 1e9)
        self._next = time.monotonic() + max(_SECONDS, seconds / _MAX_SHARE)
        if status:
            self._fail()

    def _fail(self) -> None:
        """Say that it cannot be saved, once."""
        if not self._has_failed:
            click.echo("warning: what is recorded cannot be saved meanwhile", err=True)
        self._has_failed = True
