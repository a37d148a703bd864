"""Options of a view of a snapshot: the size of the terminal, and how much to show."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["View"]

#: Rows of a table where neither the user nor the height of a terminal says how many, and at least.
_ROWS_SHOWN, _ROWS_AT_LEAST = 30, 5


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

    def rows_shown(self, other_lines: int) -> int | None:
        """The number of rows that a table shows, with `other_lines` of the terminal for what is no row; None: all."""
        if self.limit is not None or self.everything:
            return self.limit
        if self.height is None:
            return _ROWS_SHOWN
        return max(self.height - other_lines, _ROWS_AT_LEAST)
