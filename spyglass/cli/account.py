"""What commands that print goroutines say on stderr: problems, totals, consistency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.model import Snapshot

__all__ = ["show_account"]


def show_account(snapshot: Snapshot, rows: NDArray[np.int64], remark: str = "") -> None:
    """Print the problems of `snapshot`, and a line about goroutines `rows` with `remark`, on stderr."""
    from spyglass.words.account import account

    if snapshot.problems:
        from spyglass.render.problems import problem_lines  # rich, which takes long to import
        from spyglass.render.view_options import View

        for line in problem_lines(snapshot.problems, View(debug=debugging())):
            click.echo(line.plain, err=True)
    click.echo(account(snapshot, rows, remark), err=True)
