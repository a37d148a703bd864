"""``spyglass completion``: completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(_SHELLS), required=False, metavar="{bash|zsh|fish}")
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the completion script for SHELL (bash, zsh or fish).

    It completes commands, options, pids and names of Go processes, and the states and labels of the
    goroutines of the given process or file.

    \b
    bash: add to ~/.bashrc:  eval "$(spyglass completion bash)"
    zsh: add to ~/.zshrc:    eval "$(spyglass completion zsh)"
    fish: run once:
      spyglass completion fish > ~/.config/fish/completions/spyglass.fish
    """
    if shell is None:
        raise click.UsageError(f"no shell given; give one of {', '.join(_SHELLS)}")
    root = context.find_root()
    maker = get_completion_class(shell)
    if maker is None:  # a later click may drop one
        raise click.UsageError(f"no completion for {shell}")
    name = root.info_name or "spyglass"
    click.echo(maker(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
