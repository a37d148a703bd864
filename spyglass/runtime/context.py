"""The Go runtime of one target: its memory, layouts, globals and functions, which every reader needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.model import Problem

if TYPE_CHECKING:
    from spyglass.binary.pclntab import FunctionTable
    from spyglass.memory.base import Memory
    from spyglass.runtime.discovery.layouts import Layouts

__all__ = ["MAX_PROBLEMS", "Runtime"]

MAX_PROBLEMS = 1000
_TOO_MUCH = "reading it takes too long: lines and inlined calls of some frames are missing, and some stacks are cut off"

T = TypeVar("T")
Default = TypeVar("Default")


@dataclass(frozen=True)
class Runtime:
    """The Go runtime of one target.

    `globals` maps the name of a package-level variable without "runtime." ("sched", "allgs") to
    its address; a variable that was not found is absent. `problems` lists what is missing or doubtful
    in what was read; `for_reading` starts a list of its own for each snapshot.
    """

    memory: Memory
    layouts: Layouts
    globals: Mapping[str, int]
    functions: FunctionTable
    arch: str
    go_version: str
    problems: list[Problem] = field(default_factory=list)

    def address(self, name: str) -> int:
        """The address of variable `name`; `MissingInfo` if it could not be found."""
        try:
            return self.globals[name]
        except KeyError:
            raise MissingInfo(f"runtime.{name} could not be found in this program") from None

    def for_reading(self, known: Iterable[Problem] = ()) -> Runtime:
        """The same runtime with a new list of problems, which begins with those already `known`."""
        return replace(self, problems=list(known))

    def problem(self, kind: str, subject: str, detail: str) -> None:
        """Add a problem; beyond `MAX_PROBLEMS`, one that says that there are more."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, subject, detail))
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem("truncated", "problems", "more problems than are listed"))

    def note_exhausted(self) -> None:
        """Add a problem if values of the function table were not looked for any more (`FunctionTable.is_exhausted`)."""
        problem = Problem("truncated", "function table", _TOO_MUCH)
        if self.functions.is_exhausted and problem not in self.problems:
            self.problems.append(problem)

    def part(
        self, subject: str, read: Callable[[], T], default: Default, what: str = ""
    ) -> T | Default:
        """What `read` returns; if it raises, `default` and a problem of `subject`.

        `what` names the part of the subject in the detail. The kind follows the exception: unknown for
        `MissingInfo`, unreadable for `MemoryFault`, implausible for `BadDataError`.
        """
        prefix = f"{what}: " if what else ""
        try:
            return read()
        except MissingInfo as error:
            self.problem("unknown", subject, prefix + error.message)
        except MemoryFault as error:
            self.problem("unreadable", subject, prefix + error.message)
        except BadDataError as error:
            self.problem("implausible", subject, prefix + error.message)
        return default
