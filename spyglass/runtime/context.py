"""What every question to the runtime needs: bytes, meaning of bytes, and where things are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spyglass.errors import MissingInfo
from spyglass.model import Problem

if TYPE_CHECKING:
    from spyglass.binary.pclntab import FunctionTable
    from spyglass.memory.base import Memory
    from spyglass.runtime.discovery.layouts import Layouts

__all__ = ["MAX_PROBLEMS", "Runtime"]

MAX_PROBLEMS = 1000


@dataclass(frozen=True)
class Runtime:
    """The Go runtime of one target.

    `globals` maps the name of a package-level variable without "runtime." ("sched", "allgs") to
    its address; a name that could not be found is absent. `problems` collects what is missing or
    doubtful while a snapshot is made.
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

    def problem(self, kind: str, subject: str, detail: str) -> None:
        """Note that a part of the answer is missing or doubtful; of very many, that there are more."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, subject, detail))
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem("truncated", "problems", "there are more than are listed"))
