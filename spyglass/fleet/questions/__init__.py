"""The questions of ``spyglass fleet``: one SQL query each, which DuckDB and Spark take alike.

They ask the tables of `spyglass.fleet.schema`, as views called by their names, and the view ``latest``, which is itself a
query here. Parameters are written ``:name``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

__all__ = ["LATEST", "QUESTIONS", "Question", "sql_of"]

#: The name of the view of last snapshots, and of its query.
LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Question:
    """A ready question. `parameters`: the values that its query has if no others are given."""

    name: str
    title: str
    parameters: dict[str, int | str]

    @property
    def sql(self) -> str:
        """Its query."""
        return sql_of(self.name)


#: The questions by their names; the first is asked if none is chosen.
QUESTIONS: dict[str, Question] = {
    each.name: each
    for each in (
        Question("services", "which services there are", {}),
        Question("leaks", "where goroutines may leak", {"min_growth": 10, "min_blocked": 10_000}),
        Question("waits", "what goroutines wait on", {}),
        Question("groups", "the largest groups of goroutines over all hosts", {}),
        Question("outliers", "processes that differ from the others of their service", {"deviations": 5}),
        Question("limits", "which processes are near a limit of their memory", {"min_used": 80}),
        Question("changes", "what changed at a time (--at)", {"since_s": 0, "min_change": 1}),
        Question("versions", "what changed from one version to another", {"old": "", "new": "", "min_change": 1}),
    )
}  # fmt: skip


def sql_of(name: str) -> str:
    """The query in the file `name`.sql."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
