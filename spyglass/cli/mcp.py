"""``spyglass mcp``: tools for an assistant, over standard input and output."""

from __future__ import annotations

from collections.abc import Callable

import click

from spyglass.cli.common_options import debug_option
from spyglass.errors import SpyglassError

__all__ = ["assistant_options", "mcp"]


def assistant_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what assistants may do: calls `command` with ``snapshots`` and ``allow_stop`` (`spyglass.serve.settings`)."""
    folder = click.option(
        "--snapshots", type=click.Path(exists=True, file_okay=False), metavar="DIR",
        help="Let assistants (MCP) read the snapshots saved in DIR.",
    )  # fmt: skip
    stop = click.option(
        "--allow-stop", is_flag=True,
        help="Let assistants (MCP) stop a process for the moment that it is read.",
    )  # fmt: skip
    return folder(stop(command))


@click.command("mcp", short_help="Answer an assistant over MCP (stdio).")
@assistant_options
@debug_option
def mcp(snapshots: str | None, allow_stop: bool) -> None:
    """Answer an assistant over the Model Context Protocol, on standard input and output, until the input ends.

    Its tools list Go processes, summarize one, and show goroutines, waits, memory, profiles, and what changed. They read;
    nothing is written, and no process is stopped without --allow-stop. The assistant's program starts this command: see
    docs/mcp.md. `spyglass serve` has the same at /mcp.
    """
    try:
        from spyglass.serve.mcp.stdio import run
        from spyglass.serve.settings import Settings
    except ImportError as error:
        raise SpyglassError(
            f"for mcp Python's {error.name} is needed, and it is not installed",
            "`pip install 'spyglass[mcp]'`",
        ) from None
    run(Settings("", snapshots=snapshots, allow_stop=allow_stop))
