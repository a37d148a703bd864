"""``spyglass ps``: the Go processes of this host."""

from __future__ import annotations

import sys

import click

from spyglass.cli.common_options import debug_option

__all__ = ["ps"]


@click.command("ps", short_help="List the Go processes on this host.")
@click.option("--json", "as_json", is_flag=True, help="A JSON document (spyglass.ps/1).")
@debug_option
def ps(as_json: bool) -> None:
    """List the Go processes on this host.

    They are told by their executables; memory is not read. Processes that this user may not look
    into are listed at the end, each with the reason.
    """
    from spyglass.processes import go_processes

    listing = go_processes()
    if as_json:
        from spyglass.export.ps_document import write_processes

        write_processes(listing, sys.stdout)
    else:
        from spyglass.cli.terminal import Terminal
        from spyglass.render.ps_view import render

        terminal = Terminal()
        view = terminal.view(listed=False, system=False, everything=True, debug=False)
        terminal.show(render(listing, view))
