"""``spyglass doctor``: what this host allows, and what to do about what it does not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debug_option, format_options
from spyglass.cli.exit_status import FAILED
from spyglass.cli.source_options import Pid

if TYPE_CHECKING:
    from spyglass.formats import Exporter

__all__ = ["doctor"]


@click.command("doctor", short_help="Check what this host allows, and say what to do about it.")
@click.option(
    "-p",
    "--pid",
    type=Pid(),
    metavar="PID",
    help="Also check whether this process can be inspected.",
)
@format_options("host report")
@debug_option
@click.pass_context
def doctor(context: click.Context, pid: int | None, exporter: Exporter | None) -> None:
    """Check what this host allows spyglass to do, what commands lack without it, and what to do about it.

    It tries: on processes of its own, which exist for some milliseconds, and with --pid on that process, which
    is not stopped. Run it as you run spyglass, with or without sudo.

    \b
      works      it was tried
      limited    spyglass does without it, and shows less
      refused    some commands cannot work; the rule that refused, and what to do
      not tried  it would do harm, or there is nothing to try it on

    The exit status is 1 if something is refused: to the process of --pid, else on this host.
    """
    from spyglass.doctor import examine

    report = examine(pid)
    if exporter:
        exporter.write(report, sys.stdout.buffer)
    else:
        from spyglass.cli.terminal import Terminal
        from spyglass.render.doctor_view import render

        terminal = Terminal()
        terminal.show(render(report, terminal.view()))
    if report.refused:
        context.exit(FAILED)
