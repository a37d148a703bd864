"""``spyglass ps``: the Go processes of this host."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debug_option, format_options

if TYPE_CHECKING:
    from spyglass.formats import Exporter
    from spyglass.process_list import Order

__all__ = ["ps"]


@click.command("ps", short_help="List the Go processes on this host.")
@click.option(
    "--sort", "order", type=click.Choice(["cpu", "rss", "age", "pid"]), default="pid",
    show_default=True, metavar="KEY", help="Sort by cpu, rss or age, the largest first, or by pid.",
)  # fmt: skip
@format_options("processes")
@debug_option
def ps(order: Order, exporter: Exporter | None) -> None:
    """List the Go processes on this host.

    Go programs are detected from their executables; no memory is read. Processes that this user may
    not inspect are listed at the end, with the reason.

    cpu is the number of processors in use while the list is made, avg the average since the process
    started. Limits are those of control groups; wide terminals show them, and the container. The pod is
    shown where Kubernetes made the container.
    """
    from spyglass.procfs.cpu_times import process_times

    before = process_times(int(name) for name in os.listdir("/proc") if name.isdecimal())
    if not exporter:  # imported between the two readings of processor times
        from spyglass.cli.terminal import Terminal
        from spyglass.render.ps_view import render
    from spyglass.processes import go_processes

    listing = go_processes(before=before).sorted_by(order)
    if exporter:
        exporter.write(listing, sys.stdout.buffer)
    else:
        terminal = Terminal()
        view = terminal.view(listed=False, system=False, everything=True, debug=False)
        terminal.show(render(listing, view))
