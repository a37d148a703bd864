"""The command line: one module per command, imported when it is used."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import Settings, debug_option
from spyglass.cli.exit_status import INTERRUPTED, explained
from spyglass.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["run"]

#: The commands, each ``spyglass.cli.NAME.NAME``, with their help texts: `--help` needs no imports then.
COMMANDS = {
    "ps": "List the Go processes on this host.",
    "summary": "Show what a Go process is doing, on one screen.",
    "top": "Watch what a Go process is doing, live.",
    "waits": "Show what goroutines wait on, who holds it, and who is stuck.",
    "dump": "Print the stacks of all goroutines.",
    "record": "Record where a Go process spends its time.",
    "memory": "Show where memory goes, and who allocated it.",
    "var": "Show the values of package-level variables.",
    "snapshot": "Save the state of a Go process in a file.",
    "diff": "Show what changed between snapshots.",
    "core": "Save a small core file of a Go process.",
    "report": "Write a self-contained HTML report.",
    "serve": "Serve what the commands show over HTTP.",
    "mcp": "Answer an assistant over MCP (stdio).",
    "export": "Print Prometheus metrics of Go processes.",
    "fleet": "Answer questions about the snapshots of many processes.",
    "doctor": "Check what this host allows, and say what to do about it.",
    "completion": "Print the completion script for a shell.",
}


class _Commands(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"spyglass.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; for a target in its place, ``summary`` of it."""
        word = args[0]
        is_option = word.startswith("-") and word != "-"
        if word in COMMANDS or is_option or (ctx.resilient_parsing and not word.isdecimal()):
            return super().resolve_command(ctx, args)
        from spyglass.cli.typed_targets import is_target

        if is_target(word):
            return "summary", self.get_command(ctx, "summary"), args
        raise click.UsageError(f"No such command {word!r}{_suggestion(word)}", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = super().shell_complete(ctx, incomplete)
        if commands or not incomplete:
            return commands
        from spyglass.cli.completions import targets

        return targets(incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _suggestion(word: str) -> str:
    """What follows "No such command": the command that is spelt most like `word`, if one is."""
    from difflib import get_close_matches

    close = get_close_matches(word, COMMANDS, 1)
    return f". Did you mean {close[0]!r}?" if close else ", and no Go process or file has this name"


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 success; 1 failure, or a filter that matched no goroutine (one line on stderr "
    "says why), or doctor found something that is refused; 2 wrong usage; 3 a limit of --fail-on (diff, waits) was exceeded.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@debug_option
@click.pass_context
def spyglass(context: click.Context) -> None:
    """Inspect running Go programs without stopping them.

    spyglass reads the structures of the Go runtime from the memory of the process. The program needs
    no restart, no change, no debug endpoint and no symbols. Reading memory needs the same user as the
    process, or root (sudo).

    \b
      sudo spyglass ps                    list Go processes
      sudo spyglass 1234                  show what a process is doing
      sudo spyglass summary etcd          choose the process by name
      sudo spyglass dump 1234             print the stacks of all goroutines
      spyglass summary core.1234          read a core file or a saved snapshot

    A TARGET is a pid, the name of a Go process, or a file: a saved snapshot, a report, or a core.
    Where a word can be two of these, use --pid, --name, --core, or ./FILE. Without a command, the
    command is summary.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments`; returns the exit code."""
    settings = Settings()
    if "_SPYGLASS_COMPLETE" in os.environ:
        from spyglass.cli.completions import register

        register()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may not be in the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = spyglass.main(arguments, "spyglass", standalone_mode=False, obj=settings)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as ended:  # click: shell completion, or a closed pipe
        return ended.code if isinstance(ended.code, int) else 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        return explained(error, debug=settings.debug)
