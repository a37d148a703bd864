"""Twenty finished servers under load, observed without pause for hours by commands, `top`, `record`, `snapshot --every` and `serve`.

In turn there are periods with everything that observes and shorter ones in which it is suspended: how late beats and answers are in both is
compared. Between them the servers' own dumps are compared with what spyglass shows of their stacks.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.soak.crowd import Crowd
from tests.soak.latency import Pairs
from tests.soak.load import Load, loading
from tests.soak.observers import Observers, Running
from tests.soak.truth import compare
from tests.support import NEWEST, Flavour, GoProcess, start

__all__ = ["Hours", "observe"]

_WITH_US_S, _WITHOUT_S, _SETTLE_S, _LOOK_S = 40.0, 20.0, 1.0, 1.0
_COMPARED = 3
#: More than this that has certainly been added in the second half of the time is wrong: KiB, file descriptors, threads.
_CREEPS = {"anonymous_kib": 2048.0, "descriptors": 2.0, "threads": 2.0}
#: What is learned of functions and stacks is kept, and there are new ones for long: in shorter times that is not told from a leak.
_FILLING_S = 3500.0
_SECOND_HALF, _STANDARD_ERRORS = 0.5, 3
#: Of memory two steps of so many KiB do not count, each of which may be seen in two half minutes: tables that find the nodes of a tree of
#: stacks are doubled, up to 8 MiB (`spyglass.runtime.stacks.key_index`), and `record --mode wall` has two.
_STEPS, _STEP_KIB = {"anonymous_kib": 4}, 9216.0
#: By how many milliseconds the 99th percentile of beats may be later in a process that is recorded than in one beside it.
#: Requests are not judged: on a host with few processors, what they feel is that spyglass is a program that runs.
_LATE_MS = 2.0
_OBSERVED, _BYSTANDER = "beats of 1 ms, recorded", "beats of 1 ms, not looked at"


@dataclass
class Hours:
    """What was found."""

    seconds: float = 0.0
    replaced_in_time: int = 0
    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def observe(hours: float, replacements: int) -> Hours:
    """Observe for so many hours, while so many processes are replaced."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return _Observation(folder, replacements, stack).run(hours * 3600)


class _Observation:
    def __init__(self, folder: Path, replacements: int, stack: ExitStack) -> None:
        self._pairs, self._tally, self._found = Pairs(), Counter[str](), Hours()
        self._random = random.Random(1)
        self._load: Load = stack.enter_context(loading())
        self._beating = {
            name: stack.enter_context(start("pulse", NEWEST, Flavour.EXE, "-n", "1000"))
            for name in (_OBSERVED, _BYSTANDER)
        }
        self._crowd = Crowd(self._load, stack)
        self._observers_stack = stack.enter_context(ExitStack())
        self._observers = Observers(
            self._crowd,
            self._beating[_OBSERVED].pid,
            replacements,
            folder,
            self._observers_stack,
        )

    def run(self, seconds: float) -> Hours:
        """Observe for so many seconds, and report."""
        keeper = threading.Thread(target=self._crowd.keep)
        keeper.start()
        self._began = time.monotonic()
        try:
            while time.monotonic() - self._began < seconds:
                try:
                    self._pair()
                except Exception as error:  # of hours, something is to be reported
                    self._found.wrong.append(f"a pair of periods: {error!r}")
                passed = time.monotonic() - self._began
                print(f"{passed:.0f} s: {self._observers.words()}", flush=True)
        finally:
            self._crowd.ended.set()
            keeper.join()
            self._observers.close()
            self._found.seconds = time.monotonic() - self._began
            self._found.replaced_in_time = self._observers.replaced.rounds.total()
            self._observers.replace_the_rest()
            self._observers_stack.close()
        return self._report()

    def _pair(self) -> None:
        """A period with everything that observes, comparisons, and a period without."""
        self._observers.go_on()
        with_us = self._period(_WITH_US_S)
        self._observers.pause()
        for server in self._random.sample(self._crowd.staying, _COMPARED):
            wrong = compare(server.process.pid, server.process.port, self._tally)
            self._found.wrong += [f"{server.name}: {line}" for line in wrong]
        self._pairs.add(with_us, self._period(_WITHOUT_S))

    def _period(self, seconds: float) -> dict[str, list[float]]:
        """How late beats and answers were, in milliseconds, in so many seconds from soon on."""
        time.sleep(_SETTLE_S)
        self._latencies()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._observers.look(time.monotonic() - self._began)
            time.sleep(_LOOK_S)
        return self._latencies()

    def _latencies(self) -> dict[str, list[float]]:
        """Those since the last call."""
        found: dict[str, list[float]] = {
            name: _beats(process) for name, process in self._beating.items()
        }
        taken = self._load.take()
        for server in self._crowd.staying:
            times, failed = taken[server.key]
            found.setdefault(f"requests to {server.name}", []).extend(times)
            self._tally["failed requests to servers that stay"] += failed
        return found

    def _report(self) -> Hours:
        found, observers = self._found, self._observers
        found.wrong += observers.wrong + observers.replaced.wrong
        found.lines += [f"load of the host now: {os.getloadavg()[1]:.1f} in five minutes"]
        found.lines += [f"servers: {_words(self._crowd.events)}"]
        found.lines += [f"commands: {_words(observers.commands)}"]
        found.lines += [
            f"requests to serve, by status: {dict(sorted(observers.statuses.statuses.items()))}"
        ]
        found.lines += [f"stacks and the servers' own: {_words(self._tally)}"]
        found.lines += [f"processes that were replaced, {found.replaced_in_time} in this time:"]
        found.lines += [f"  {line}" for line in observers.replaced.lines()]
        if observers.statuses.statuses.get(500):
            found.wrong.append("serve answered with status 500")
        for each in observers.running:
            self._report_growth(each)
        found.lines += self._pairs.lines()
        excess, error = self._pairs.excess(_OBSERVED, _BYSTANDER)
        found.lines.append(f"of that, of being recorded: {excess:+.2f} ± {error:.2f} ms")
        if excess - _STANDARD_ERRORS * error > _LATE_MS:
            found.wrong.append(f"beats of what is recorded are {excess:.1f} ms later")
        return found

    def _report_growth(self, running: Running) -> None:
        for what, limit in _CREEPS.items():
            measured = running.measured
            line = f"{running.name}: {measured.words(what, _SECOND_HALF)}"
            steps = _STEPS.get(what, 0)
            least = measured.certain_growth(what, _SECOND_HALF, _STANDARD_ERRORS, steps, _STEP_KIB)
            self._found.lines.append(line)
            if not least > limit:
                continue
            self._found.lines.append(f"  means of half minutes: {measured.half_minutes(what)}")
            if what == "anonymous_kib" and measured.seconds[-1] < _FILLING_S:
                self._found.lines.append(
                    "  not judged: in less than an hour, what is learned of stacks is not told from a leak"
                )
            else:
                self._found.wrong.append(f"{line}, at least {least:.0f} in the second half")


def _beats(process: GoProcess) -> list[float]:
    """How late the beats of `pulse` were, in milliseconds."""
    pairs = np.array(json.loads(process.ask("beats"))).reshape(-1, 2)
    late: list[float] = np.repeat(pairs[:, 0] / 1e3, pairs[:, 1].astype(int)).tolist()
    return late


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()) if count)
