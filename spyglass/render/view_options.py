"""What of a snapshot a person wants to see, and the room there is for it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """`width` and `height` in cells of the terminal, None: nobody looks at the edges of it.

    `styled`: with colours and bold. `listed`: a line for each goroutine rather than each group.
    `system`: the runtime's own goroutines too. `everything`: all rows. `debug`: all problems. `limit`: at most
    so many rows.
    """

    width: int | None = None
    height: int | None = None
    styled: bool = False
    listed: bool = False
    system: bool = False
    everything: bool = False
    debug: bool = False
    limit: int | None = None
