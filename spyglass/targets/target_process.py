"""The process behind a target, live or saved: what is known of it beside memory and executable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from spyglass.errors import SpyglassError
from spyglass.model import Problem
from spyglass.process_list import Names

if TYPE_CHECKING:
    from spyglass.binary.corenotes import MappedFile
    from spyglass.binary.go_executable import GoExecutable
    from spyglass.memory.base import Memory
    from spyglass.memory_limits import MemoryLimits
    from spyglass.targets.live_cpu import LiveCpu
    from spyglass.threads import Registers
    from spyglass.wait_graph import Connection

__all__ = ["AT_ENTRY", "Facts", "OsThread", "Program", "StoppedThreads", "TargetProcess"]

#: Of getauxval(3): where the program begins, after the kernel placed it.
AT_ENTRY = 9


class Program(NamedTuple):
    """The file with the Go runtime in a process. `bias` is what must be added to its addresses to get
    those in the process; `library` its path if it is not the program itself, but what that loaded."""

    executable: GoExecutable
    bias: int
    library: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel knows of a process, and spyglass shows. None: not known.

    `host` is the machine's name, `exe` where the program was, in the process's own mount namespace, `names` those of
    `container` and its pod.
    `problems` say why something else than that is not known.
    """

    host: str | None = None
    exe: str | None = None
    cmdline: tuple[str, ...] = ()
    started_at: datetime | None = None
    uptime_seconds: float | None = None
    rss_bytes: int | None = None
    container: str | None = None
    names: Names = Names()  # noqa: RUF009
    memory_limit_bytes: int | None = None
    limits: MemoryLimits | None = None
    problems: tuple[Problem, ...] = ()


class OsThread(Protocol):
    """A thread as the kernel tells of it: its id, its name, and a word for its state, or None."""

    @property
    def tid(self) -> int: ...
    @property
    def name(self) -> str | None: ...
    @property
    def os_state(self) -> str | None: ...


class StoppedThreads(Protocol):
    """The threads of a process while it is stopped: their registers by thread id, and for how long."""

    registers: dict[int, Registers]

    @property
    def elapsed_ns(self) -> int: ...


class TargetProcess(ABC):
    """The process behind a target: live, or saved in a core. Close it.

    `kind` is "process" or "core". `stopped`: nothing in it moves while it is read.
    """

    kind: ClassVar[str]
    pid: int
    stopped: bool
    #: What is missing or doubtful before anything is read.
    problems: tuple[Problem, ...] = ()
    #: Ids of goroutines that were torn when the core was made: what is shown of them may mix moments.
    torn: frozenset[int] = frozenset()
    #: Ids of goroutines that were not, while the core was made, what they are in it: what they wait on may
    #: be of another moment.
    moved: frozenset[int] = frozenset()
    #: Whether thread ids may be those of another pid namespace, in a way that `outer_tids` does not
    #: tell: then threads are matched by their stack pointers.
    foreign_tids: bool = False
    #: Its processor time; None: nothing of it runs.
    cpu: LiveCpu | None = None

    @abstractmethod
    def facts(self) -> Facts:
        """What the kernel tells of the process, as it is now, or was when the core was made."""

    @abstractmethod
    def threads(self) -> Sequence[OsThread]:
        """The threads, by id."""

    @abstractmethod
    def stop(self) -> AbstractContextManager[StoppedThreads | None]:
        """Stop every thread while the context is entered.

        None: none of its threads runs (a core). Raises `TargetError` if it cannot be stopped.
        """

    @abstractmethod
    def saved_registers(self) -> Mapping[int, Registers] | None:
        """The registers that a core has, by thread id; None for a live process."""

    @abstractmethod
    def registers(self, tids: Sequence[int]) -> Mapping[int, Registers]:
        """The registers of the threads `tids`, by thread id, as far as they can be read without a stop."""

    @abstractmethod
    def native_names(self, memory: Memory) -> Callable[[int], str]:
        """A function that names code at an address that is not Go's: "libc.so.6!read", "libc.so.6+0x1f"."""

    @abstractmethod
    def taken_at(self) -> datetime:
        """The moment that a snapshot shows: now, or when the core was made."""

    @abstractmethod
    def now_ns(self) -> int | None:
        """CLOCK_MONOTONIC at that moment, which Go's ``nanotime`` reads; None: not known."""

    @abstractmethod
    def auxv(self) -> dict[int, int]:
        """The auxiliary vector: types of getauxval(3) and their values."""

    @abstractmethod
    def files(self) -> Sequence[MappedFile]:
        """The files that are mapped."""

    @abstractmethod
    def connections(self, fds: Iterable[int]) -> Mapping[int, Connection]:
        """What the file descriptors `fds` are of, as far as it is known."""

    def memory_limits(self, *, files: bool = False) -> MemoryLimits | None:
        """The limits of its memory that the kernel knows, with `files` those that it has open; None: there are none."""
        return None

    def outer_tids(self) -> Mapping[int, int] | None:
        """The ids of `threads` by those that the process itself sees; None: they are the same."""
        return None

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Raise `ProcessChanged` instead of an error in the block that a changed process explains."""
        try:
            yield
        except SpyglassError:
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Raise `ProcessChanged` if the process ended or became another."""

    def close(self) -> None:
        """Close what it holds open."""
