"""Standard output: a terminal with a size and colours, or a pipe without."""

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

#: Variables that make rich write colours to a pipe.
_FORCING = ("FORCE_COLOR", "TTY_COMPATIBLE")


class Terminal:
    """Standard output; obeys ``NO_COLOR``, ``FORCE_COLOR``, ``COLUMNS`` and ``LINES``."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._console = _console() if self._is_terminal or any(map(os.getenv, _FORCING)) else None

    def view(
        self,
        *,
        listed: bool = False,
        system: bool = False,
        everything: bool = False,
        verbose: bool = False,
        debug: bool = False,
        limit: int | None = None,
    ) -> View:
        """The options of a view, with the size of the terminal."""
        size = self._console.size if self._console and self._is_terminal else None
        return View(
            width=size and size.width,
            height=size and size.height,
            styled=self._is_styled,
            listed=listed,
            system=system,
            everything=everything,
            verbose=verbose,
            debug=debug,
            limit=limit,
        )

    def show(self, lines: Iterable[Text]) -> None:
        """Print `lines` without wrapping them."""
        if self._console and self._is_styled:
            for line in lines:
                self._console.print(line, soft_wrap=True)
        else:
            sys.stdout.writelines(f"{line.plain}\n" for line in lines)

    @property
    def _is_styled(self) -> bool:
        return self._console is not None and self._console.is_terminal


def _console() -> Console:
    from rich.console import Console  # not for a pipe: importing it is slow

    return Console(file=sys.stdout, highlight=False)
