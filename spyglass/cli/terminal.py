"""Where output goes: a terminal with edges and colours, or a pipe without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spyglass.render.view_options import View

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Terminal"]

#: What makes rich write colours where there is no terminal.
_FORCING = ("FORCE_COLOR", "TTY_COMPATIBLE")


class Terminal:
    """Standard output, as its user wants it (``NO_COLOR``, ``FORCE_COLOR``, ``COLUMNS``, ``LINES``)."""

    def __init__(self) -> None:
        self._has_edges = sys.stdout.isatty()
        self._console = _console() if self._has_edges or any(map(os.getenv, _FORCING)) else None

    def view(
        self,
        *,
        listed: bool = False,
        system: bool = False,
        everything: bool = False,
        debug: bool = False,
        limit: int | None = None,
    ) -> View:
        """What is wanted, in the room there is."""
        size = self._console.size if self._console and self._has_edges else None
        return View(
            width=size and size.width,
            height=size and size.height,
            styled=self._is_styled,
            listed=listed,
            system=system,
            everything=everything,
            debug=debug,
            limit=limit,
        )

    def show(self, lines: Iterable[Text]) -> None:
        """Print `lines`, none of which is wrapped."""
        if self._console and self._is_styled:
            for line in lines:
                self._console.print(line, soft_wrap=True)
        else:
            sys.stdout.writelines(f"{line.plain}\n" for line in lines)

    @property
    def _is_styled(self) -> bool:
        return self._console is not None and self._console.is_terminal


def _console() -> Console:
    from rich.console import Console  # not for a pipe: it takes long to import

    return Console(file=sys.stdout, highlight=False)
