"""What observes the servers without pause: commands one after the other, and those that run all the time; and commands that read processes
which are replaced meanwhile."""

from __future__ import annotations

import itertools
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.command import SPYGLASS
from tests.fork_server import ForkServer
from tests.soak.commands import COMMAND_SECONDS, Command, start, text_of, wrong_end
from tests.soak.crowd import SERVERS, Crowd
from tests.soak.replaced import Replacer, Tally
from tests.soak.serve import ask, server
from tests.soak.slopes import Measured

__all__ = ["Observers", "Running"]

#: Commands that look at any server, in turn.
_COMMANDS: tuple[Command, ...] = (
    ("summary", "PID"), ("dump", "PID", "--json"), ("waits", "PID", "--heap"), ("memory", "PID"), ("ps", "--json"),
    ("snapshot", "PID", "-o", "FILE.json.gz"), ("record", "PID", "-d", "2s", "-o", "FILE.html"),
    ("top", "PID", "--json", "--count", "3"), ("report", "PID", "-o", "FILE.html"), ("dump", "PID", "--stop"),
    ("memory", "PID", "--heap"), ("core", "PID", "-o", "FILE.core"),
)  # fmt: skip
#: Commands that run all the time; PID is one of the servers that stay.
_LONG: Mapping[str, Command] = {
    "top": ("top", "PID", "--json", "--cpu"),
    "record": ("record", "PID", "-d", "100h", "-o", "FILE.json"),
    "record --mode wall": ("record", "PID", "--mode", "wall", "-d", "100h", "-o", "FILE.json"),
    "snapshot --every": ("snapshot", "PID", "--every", "2s", "-o", "FILE"),
}
_END_SECONDS = 60.0
_INTERRUPTED = 130


@dataclass
class Running:
    """A command that runs all the time, and what it has over time."""

    name: str
    process: subprocess.Popen[str]
    measured: Measured = field(default_factory=Measured)


class Observers:
    """All that observes a crowd; `pause` and `go_on` hold and release it."""

    def __init__(
        self, crowd: Crowd, beating: int, replacements: int, folder: Path, stack: ExitStack
    ) -> None:
        """`beating`: a process that `record` observes, too; `replacements`: how many processes are replaced while commands read
        them; `folder`: for files."""
        self._crowd, self._folder = crowd, folder
        self._may_run, self._ended = threading.Event(), threading.Event()
        self.commands: Counter[str] = Counter()
        self.statuses = Measured()
        self.wrong: list[str] = []
        process, self._client = stack.enter_context(server(folder, sorted(set(SERVERS.values()))))
        self.running = [Running("serve", process)]
        pids = itertools.cycle(each.process.pid for each in crowd.staying)
        for name, command in _LONG.items():
            pid = beating if name == "record" else next(pids)
            self.running.append(stack.enter_context(self._started(name, command, pid)))
        self._commands = itertools.cycle(_COMMANDS)
        self._fork_server = ForkServer()
        stack.callback(self._fork_server.end)
        (folder / "replaced").mkdir()
        self._replacer = stack.enter_context(closing(Replacer(folder / "replaced")))
        self._replacements = replacements
        #: What came of processes that were replaced.
        self.replaced: Tally = self._replacer.tally
        acts = (self._command, self._ask, self._replace)
        self._idle = [threading.Lock() for _ in acts]
        self._threads = [
            threading.Thread(target=self._repeat, args=pair)
            for pair in zip(acts, self._idle, strict=True)
        ]
        for each in self._threads:
            each.start()

    @contextmanager
    def _started(self, name: str, command: Command, pid: int) -> Iterator[Running]:
        words = [
            str(pid)
            if word == "PID"
            else word.replace("FILE", f"{self._folder}/{name.replace(' ', '')}")
            for word in command
        ]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*SPYGLASS, *words], text=True, stdout=subprocess.DEVNULL, stderr=errors
            )
            try:
                yield Running(name, process)
            finally:
                self._end(name, process, errors)

    def _end(self, name: str, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        """Interrupt a command, which must end well; it must not have ended before."""
        early = process.poll()
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        said = text_of(errors)
        if early is not None or code not in (0, _INTERRUPTED) or wrong_end(0, said):
            self.wrong.append(f"{name}: status {code}, {said[-1000:]}")

    def go_on(self) -> None:
        """Let all observe."""
        self._may_run.set()
        for each in self.running:
            each.process.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        """Hold all, when commands that have begun have ended."""
        self._may_run.clear()
        for lock in self._idle:
            with lock:
                pass
        for each in self.running:
            each.process.send_signal(signal.SIGSTOP)

    def words(self) -> str:
        """How far they are."""
        memory = ", ".join(
            f"{each.name} {each.measured.anonymous_kib[-1]:,.0f} KiB" for each in self.running
        )
        return (
            f"{self.commands.total()} commands, {sum(self.statuses.statuses.values())} requests to serve,"
            f" {self.replaced.rounds.total()} processes replaced; {memory}"
        )

    def look(self, seconds: float) -> None:
        """Look at those that run all the time."""
        for each in self.running:
            if each.process.poll() is None:
                each.measured.look(each.process.pid, seconds)

    def close(self) -> None:
        """End the commands that are started one after the other, and requests to `serve`."""
        self.go_on()
        self._ended.set()
        for each in self._threads:
            each.join()

    def _repeat(self, act: Callable[[int], None], lock: threading.Lock) -> None:
        """Call `act` with 0, 1 and so on, while it may run, until it is to end."""
        for number in itertools.count():
            self._may_run.wait()
            if self._ended.is_set():
                return
            with lock:
                self._try(act, number)

    def _try(self, act: Callable[[int], None], number: int) -> None:
        try:
            act(number)
        except Exception as error:  # a thread that ends would observe nothing any more, in silence
            self.wrong.append(f"{act.__name__}, {number}: {error!r}")
            time.sleep(1)

    def _replace(self, number: int) -> None:
        """Replace a process while a command reads it, until all are replaced."""
        if number < self._replacements:
            self._replacer.replace()
        else:
            time.sleep(0.1)

    def replace_the_rest(self) -> None:
        """Replace those that there was no time for, when the threads have ended."""
        for number in range(self.replaced.rounds.total(), self._replacements):
            self._try(self._replace, number)

    def _command(self, number: int) -> None:
        command, file = next(self._commands), self._folder / f"command{number}"
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start(self._fork_server, command, self._crowd.any().process.pid, file, (out, err))
            code = self._fork_server.wait(COMMAND_SECONDS)
            self.commands[f"{command[0]}: {'an answer' if code == 0 else 'a line'}"] += 1
            if wrong := wrong_end(code, text_of(err)):
                self.wrong.append(f"{' '.join(command)}: {wrong}")
        for path in file.parent.glob(f"{file.name}.*"):
            path.unlink()

    def _ask(self, number: int) -> None:
        try:
            ask(self._client, self._crowd.any().process.pid, number, self.statuses)
        finally:
            time.sleep(0.1)
