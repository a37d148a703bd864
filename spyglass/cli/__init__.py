"""The command line: one module per command, imported when it is used."""

from __future__ import annotations

import importlib
import io
import sys

import click

from spyglass.cli.common_options import Settings, debug_option
from spyglass.cli.exit_status import INTERRUPTED, explained
from spyglass.version import __version__

__all__ = ["run"]

#: The commands, each ``spyglass.cli.NAME.NAME``, with what `--help` says of them: their modules
#: import much more than that needs.
COMMANDS = {
    "ps": "List the Go processes on this host.",
    "summary": "Show what a Go process is doing, in one screen.",
    "top": "Watch what a Go process is doing, live.",
    "dump": "Print every stack of a Go process.",
    "snapshot": "Save what a Go process is doing in a file.",
    "diff": "Show what changed from one snapshot to another.",
    "core": "Save a small core file of a Go process.",
    "report": "Write one HTML page for an incident's ticket.",
    "completion": "Print the completion script for a shell.",
}


class _Commands(click.Group):
    """A group whose commands are imported one by one, when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"spyglass.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 it worked, 1 it did not and one line says why, 2 wrong usage.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@debug_option
@click.pass_context
def spyglass(context: click.Context) -> None:
    """Look into a running Go program without stopping it.

    No restart, no code change, no endpoint, no debugger: spyglass reads the structures of Go's
    runtime out of the process's memory. Stripped programs are fine. It needs the permission to read
    that memory: the same user's, or root's (sudo).

    \b
      sudo spyglass ps                    which Go processes are there?
      sudo spyglass summary --pid 1234    what is this one doing?
      sudo spyglass summary --name etcd   by name
      sudo spyglass dump --pid 1234       every stack of it
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments`; returns the exit code."""
    settings = Settings()
    if isinstance(sys.stdout, io.TextIOWrapper):  # no name may be beyond the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = spyglass.main(arguments, "spyglass", standalone_mode=False, obj=settings)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as ended:  # click's: a shell asked for completions, or a pipe was closed
        return ended.code if isinstance(ended.code, int) else 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        return explained(error, debug=settings.debug)
