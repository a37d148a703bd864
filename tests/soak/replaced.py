"""Processes that are killed, replaced by another with the same pid, or run another program, while commands read them.

Both run the same file, `pulse`, at the same addresses: what differs is the function that their goroutines wait in. Nothing
that a command writes may be of both.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

import spyglass
from spyglass.model import Snapshot
from tests.fork_server import ForkServer
from tests.soak.commands import COMMAND_SECONDS, Command, start, text_of, wrong_end
from tests.support import NEWEST, Flavour, GoProcess, build, start_with_pid

__all__ = ["COMMANDS", "HAPPENINGS", "Replacer", "Tally", "replace_often"]

#: What reads a process, for a moment or for longer. FILE is what they may write.
COMMANDS: tuple[Command, ...] = (
    ("dump", "PID", "--json"),
    ("summary", "PID", "--json"),
    ("waits", "PID", "--heap"),
    ("top", "PID", "--json", "--count", "3", "--interval", "100ms"),
    ("snapshot", "PID", "--heap", "-o", "FILE.json"),
    ("dump", "PID", "--stop"),
    ("record", "PID", "--mode", "wall", "--rate", "50", "-d", "300ms", "-o", "FILE.json"),
    ("memory", "PID", "--types"),
    ("core", "PID", "-o", "FILE.core"),
    ("report", "PID", "-o", "FILE.html"),
    ("record", "PID", "-d", "300ms", "-o", "FILE.json"),
    ("memory", "PID", "--retain", "main.held", "--json"),
)
HAPPENINGS = ("killed", "another has its pid", "runs another program")
#: Goroutines of the first program and of the second; the function that they wait in; a word of its command line.
_FIRST, _SECOND = 300, 311
_OF_FIRST, _OF_SECOND = "main.first", ("main.second", "-second")


@dataclass
class Tally:
    """What commands said while their process was replaced."""

    rounds: Counter[str] = field(default_factory=Counter)
    #: Answers by what they are of, and refusals by their words.
    said: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What is reported."""
        happened = ", ".join(f"{name} {count}" for name, count in sorted(self.rounds.items()))
        said = [f"{count:5} {what}" for what, count in self.said.most_common()]
        return [f"{self.rounds.total()} commands; meanwhile their process: {happened}", *said]


def replace_often(folder: Path, count: int) -> Tally:
    """Let commands read processes while something of `HAPPENINGS` happens to them, `count` times in all."""
    with closing(Replacer(folder)) as replacer:
        for _ in range(count):
            replacer.replace()
        return replacer.tally


class Replacer:
    """Lets something of `HAPPENINGS` happen to one process after the other."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for what commands write."""
        self.tally = Tally()
        self._chance = random.Random(1)
        kinds = list(itertools.product(HAPPENINGS, COMMANDS))
        self._chance.shuffle(kinds)
        self._kinds = itertools.cycle(kinds)
        self._reader = _Reader(folder)
        self._usual_seconds = cache(self._reader.usual_seconds)

    def replace(self) -> None:
        """Let a command read a process, and the next of them happen meanwhile; `tally` says what came of it."""
        happening, command = next(self._kinds)
        seconds = self._chance.uniform(0, 1.1 * self._usual_seconds(command))
        self._reader.read(command, happening, seconds, self.tally)

    def close(self) -> None:
        """End the process that commands are forked from."""
        self._reader.close()


class _Reader:
    """Runs commands on processes that do not stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = ForkServer()
        self._program = build("pulse", NEWEST, Flavour.EXE)
        self._number = 0

    def usual_seconds(self, command: Command) -> float:
        """How long `command` takes if nothing happens."""
        with self._first() as process, self._files() as (out, err):
            began = time.monotonic()
            self._start(command, process.pid, (out, err))
            code = self._server.wait(COMMAND_SECONDS)
            assert code == 0, f"{command}: {text_of(err)}"
            return time.monotonic() - began

    def read(self, command: Command, happening: str, seconds: float, tally: Tally) -> None:
        """Run `command` on a process to which `happening` happens after so many seconds; note in `tally` what it said."""
        with ExitStack() as stack:
            process = stack.enter_context(self._first())
            out, err = stack.enter_context(self._files())
            self._start(command, process.pid, (out, err))
            time.sleep(seconds)
            happened = self._happen(happening, process, stack)
            code = self._server.wait(COMMAND_SECONDS)
            self._note(command, happened, code, (text_of(out), text_of(err)), tally)

    def _happen(self, happening: str, process: GoProcess, stack: ExitStack) -> str:
        """Let it happen; returns what has happened: nobody may have got the pid."""
        second = [str(self._program), "-n", str(_SECOND), "-second"]
        if happening == "runs another program":
            process.tell("exec " + " ".join(second))
            return happening
        process.kill()
        process.wait()
        if happening == "another has its pid":
            another = start_with_pid(process.pid, GoProcess(second, ready=None), stack)
            return happening if another.pid == process.pid else "killed"
        return happening

    def _note(
        self, command: Command, happened: str, code: int, said: tuple[str, str], tally: Tally
    ) -> None:
        output, errors = said
        tally.rounds[happened] += 1
        wrong = wrong_end(code, errors)
        if wrong is None and code == 0:
            text = output + self._written()
            wrong = _mixture(text)
            tally.said[
                f"an answer of the {'second' if _is_of_second(text) else 'first'} program"
            ] += 1
        elif wrong is None:
            (line,) = (each for each in errors.splitlines() if each.startswith("spyglass: "))
            tally.said["".join("N" if each.isdigit() else each for each in line)] += 1
        if wrong is not None:
            tally.wrong.append(f"{' '.join(command)} ({happened}): {wrong}")

    def _written(self) -> str:
        """The text of what the command wrote into its file, if it did: of a core or a page, what a snapshot of it says."""
        for path in self._folder.glob(f"{self._number}.*"):
            if path.suffix == ".core":
                with spyglass.open_core(str(path)) as core:
                    return _text_of(core.snapshot("full"))
            return _text_of(spyglass.load(path)) if path.suffix == ".html" else path.read_text()
        return ""

    def _start(self, command: Command, pid: int, files: tuple[IO[bytes], IO[bytes]]) -> None:
        self._number += 1
        start(self._server, command, pid, self._folder / str(self._number), files)

    def _first(self) -> GoProcess:
        return GoProcess([self._program, "-n", str(_FIRST)])

    @contextmanager
    def _files(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            yield out, err
            for path in self._folder.glob(f"{self._number}.*"):
                path.unlink()

    def close(self) -> None:
        """End the process that commands are forked from."""
        self._server.end()


def _is_of_second(text: str) -> bool:
    return any(word in text for word in _OF_SECOND)


def _mixture(text: str) -> str | None:
    """What is wrong if `text` is of both programs."""
    return f"of both programs: {text[:2000]}" if _OF_FIRST in text and _is_of_second(text) else None


def _text_of(snapshot: Snapshot) -> str:
    """The command line, and what is wrong if not all goroutines of the first program are there."""
    names = [{frame.function for frame in each.stack or ()} for each in snapshot]
    count = sum(_OF_FIRST in each for each in names)
    assert count in (0, _FIRST), f"{count} goroutines of {_FIRST}"
    return " ".join([*(snapshot.process.cmdline or ()), *sorted(set().union(*names))])
