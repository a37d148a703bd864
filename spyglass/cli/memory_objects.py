"""``spyglass memory --spans`` and ``--types``: what is in the heap."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.wait_options import heap_bar

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.model import Problem

__all__ = ["ObjectOptions", "object_options"]

Command = Callable[..., None]

_DEFAULT_SECONDS = 10.0


@dataclass(frozen=True)
class ObjectOptions:
    """What of the heap is shown: its `spans`, or its objects by type (`types`), which may take so many `seconds`."""

    spans: bool
    types: bool
    seconds: float

    @property
    def wanted(self) -> bool:
        """Whether anything of it is."""
        return self.spans or self.types

    def show(self, program: Inspector, *, everything: bool) -> Sequence[Problem]:
        """Print what was chosen; what is missing or doubtful of it."""
        from spyglass.cli.terminal import Terminal
        from spyglass.render.heap_objects_view import render_spans, render_types

        terminal = Terminal()
        view = terminal.view(everything=everything)
        if self.spans:
            spans = program.heap_spans()
            terminal.show(render_spans(spans, view))
            return spans.problems
        with heap_bar() as progress:
            types = program.heap_types(seconds=self.seconds, progress=progress)
        terminal.show(render_types(types, view))
        return types.problems


def object_options(command: Command) -> Command:
    """Add the options of an `ObjectOptions`: calls the command with ``objects``."""

    @functools.wraps(command)
    def wrapper(spans: bool, types: bool, seconds: float, **others: Any) -> None:
        if spans and types:
            raise click.UsageError("--spans and --types exclude each other")
        command(objects=ObjectOptions(spans, types, seconds), **others)

    options = (
        click.option("--spans", is_flag=True, help="Show the spans of the heap by the size of their objects: used and unused bytes."),
        click.option("--types", is_flag=True, help="Show the objects of the heap by type. Go 1.22 and later."),
        click.option(
            "--seconds", type=click.FloatRange(0, min_open=True), default=_DEFAULT_SECONDS, show_default=True, metavar="S",
            help="Look at the objects of the heap for so long at most.",
        ),
    )  # fmt: skip
    decorated: Command = wrapper
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
