"""Where output goes: a terminal with edges and colours, or a pipe without."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from spyglass.render.view import View

__all__ = ["Terminal"]


class Terminal:
    """Standard output, as the user wants it (``NO_COLOR``, ``FORCE_COLOR``, ``COLUMNS``, ``LINES``)."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False)
        self._has_edges = sys.stdout.isatty()

    def view(self, *, listed: bool, system: bool, everything: bool, debug: bool) -> View:
        """What is wanted, in the room there is."""
        width, height = self._console.size
        return View(
            width=width if self._has_edges else None,
            height=height if self._has_edges else None,
            styled=self._console.is_terminal,
            listed=listed,
            system=system,
            everything=everything,
            debug=debug,
        )

    def show(self, lines: Iterable[Text]) -> None:
        """Print `lines`, none of which is wrapped."""
        if self._console.is_terminal:
            for line in lines:
                self._console.print(line, soft_wrap=True)
        else:
            sys.stdout.writelines(f"{line.plain}\n" for line in lines)
