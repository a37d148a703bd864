"""Options of a view of a snapshot: the size of the terminal, and how much to show."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """`width` and `height`: of the terminal, in cells; None: output goes to a pipe or file, cut nothing.

    `styled`: with colours and bold text. `listed`: a line for each goroutine instead of each group.
    `system`: include runtime goroutines. `everything`: all rows. `verbose`: all facts about the process,
    scheduler and memory. `debug`: all problems.
    `limit`: the maximum number of rows.
    """

    width: int | None = None
    height: int | None = None
    styled: bool = False
    listed: bool = False
    system: bool = False
    everything: bool = False
    verbose: bool = False
    debug: bool = False
    limit: int | None = None
