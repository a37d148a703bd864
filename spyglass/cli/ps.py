"""``spyglass ps``: the Go processes of this host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debug_option, format_options

if TYPE_CHECKING:
    from spyglass.formats import Exporter

__all__ = ["ps"]


@click.command("ps", short_help="List the Go processes on this host.")
@format_options("processes")
@debug_option
def ps(exporter: Exporter | None) -> None:
    """List the Go processes on this host.

    Go programs are detected from their executables; no memory is read. Processes that this user may
    not inspect are listed at the end, with the reason.
    """
    from spyglass.processes import go_processes

    listing = go_processes()
    if exporter:
        exporter.write(listing, sys.stdout.buffer)
    else:
        from spyglass.cli.terminal import Terminal
        from spyglass.render.ps_view import render

        terminal = Terminal()
        view = terminal.view(listed=False, system=False, everything=True, debug=False)
        terminal.show(render(listing, view))
