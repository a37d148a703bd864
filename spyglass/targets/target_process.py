"""Where a target comes from: what is known of its process beside memory and program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from spyglass.binary.corenotes import MappedFile
    from spyglass.binary.executable import Executable
    from spyglass.model import Problem
    from spyglass.threads import Registers

__all__ = ["AT_ENTRY", "Facts", "OsThread", "Program", "TargetProcess"]

#: Of getauxval(3): where the program begins, after the kernel placed it.
AT_ENTRY = 9


class Program(NamedTuple):
    """The file with the Go runtime in a process. `bias` is what must be added to its addresses to get
    those in the process; `library` its path if it is not the program itself, but what that loaded."""

    executable: Executable
    bias: int
    library: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel knows of a process, and spyglass shows. None: not known.

    `host` is the machine's name, `exe` where the program was, in the process's own mount namespace.
    """

    host: str | None
    exe: str | None
    cmdline: tuple[str, ...]
    started_at: datetime | None
    uptime_seconds: float | None
    rss_bytes: int | None
    container: str | None
    memory_limit_bytes: int | None


class OsThread(Protocol):
    """A thread as the kernel tells of it: its id, its name, and a word for its state, or None."""

    @property
    def tid(self) -> int: ...
    @property
    def name(self) -> str | None: ...
    @property
    def os_state(self) -> str | None: ...


class TargetProcess(ABC):
    """A live process, or one whose memory was saved. Close it.

    `kind` is "process" or "core". `stopped`: nothing moves while it is read.
    """

    kind: ClassVar[str]
    pid: int
    stopped: bool
    #: What is missing or doubtful before anything was read.
    problems: tuple[Problem, ...] = ()
    #: Goroutines of which it was known when they were saved that they may mix moments.
    torn: frozenset[int] = frozenset()

    @abstractmethod
    def facts(self) -> Facts:
        """The facts, as they are now, or were when the process was saved."""

    @abstractmethod
    def threads(self) -> Sequence[OsThread]:
        """The threads, by id."""

    @abstractmethod
    def registers(self) -> Mapping[int, Registers] | None:
        """Where the threads of a saved process were, by id; None for a live one, whose go on."""

    @abstractmethod
    def taken_at(self) -> datetime:
        """The moment that is shown."""

    @abstractmethod
    def now_ns(self) -> int | None:
        """What the clock said then that Go's ``nanotime`` reads, CLOCK_MONOTONIC; None: not known."""

    @abstractmethod
    def auxv(self) -> dict[int, int]:
        """The auxiliary vector: types of getauxval(3) and their values."""

    @abstractmethod
    def files(self) -> Sequence[MappedFile]:
        """The files that are mapped."""

    def outer_tids(self) -> Mapping[int, int] | None:
        """The ids of `threads` by those that the process itself sees, if they are others."""
        return None

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Raise what `check` does rather than what goes wrong in the block because of that."""
        try:
            yield
        except SpyglassError:
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Raise `ProcessChanged` if this is not the process any more that it was."""

    def close(self) -> None:
        """Let go of it."""
