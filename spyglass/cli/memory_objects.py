"""``spyglass memory --spans``, ``--types`` and ``--retain``: what is in the heap, and what keeps it alive."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.source_options import size_bytes

if TYPE_CHECKING:
    from spyglass.heap_objects import HeapSpans, HeapTypes, Retention
    from spyglass.inspector import Inspector

__all__ = ["ObjectOptions", "object_options", "show_objects"]

Command = Callable[..., None]

_DEFAULT_SECONDS = 10.0


@dataclass(frozen=True)
class ObjectOptions:
    """What of the heap is shown: its `spans`, its objects by type (`types`), or what keeps objects alive (`retain`: their
    type, or an address); which may take so many `seconds`. The process is stopped meanwhile to see what keeps objects alive
    (`stop`), for which so many bytes of spans that hold pointers are read (`limit_bytes`; None: the default)."""

    spans: bool
    types: bool
    retain: str | None
    seconds: float
    stop: bool = False
    limit_bytes: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything of it is."""
        return self.spans or self.types or self.retain is not None

    def read(self, program: Inspector) -> HeapSpans | HeapTypes | Retention:
        """Read what was chosen, with a progress bar if it takes long."""
        if self.spans:
            return program.heap_spans()
        from spyglass.cli.wait_options import heap_bar

        with heap_bar() as progress:
            if self.retain is not None:
                return program.retention(
                    self.retain, seconds=self.seconds, heap_limit_bytes=self._limit_bytes(), stop=self.stop,
                    progress=progress,
                )  # fmt: skip
            return program.heap_types(seconds=self.seconds, progress=progress)

    def _limit_bytes(self) -> int:
        from spyglass.runtime.waiting.options import DEFAULT_HEAP_LIMIT_BYTES

        return DEFAULT_HEAP_LIMIT_BYTES if self.limit_bytes is None else self.limit_bytes


def show_objects(objects: HeapSpans | HeapTypes | Retention, *, everything: bool) -> None:
    """Print `objects`."""
    from spyglass.cli.terminal import Terminal
    from spyglass.render.heap_objects_view import render_objects

    terminal = Terminal()
    terminal.show(render_objects(objects, terminal.view(everything=everything)))


def object_options(command: Command) -> Command:
    """Add the options of an `ObjectOptions`: calls the command with ``objects``."""

    @functools.wraps(command)
    def wrapper(
        spans: bool,
        types: bool,
        retain: str | None,
        stop: bool,
        limit_bytes: int | None,
        **others: Any,
    ) -> None:
        if spans + types + (retain is not None) > 1:
            raise click.UsageError("--spans, --types and --retain exclude each other")
        if retain is None and (stop or limit_bytes is not None):
            raise click.UsageError("--stop and --heap-limit require --retain")
        seconds = others.pop("seconds")
        objects = ObjectOptions(spans, types, retain, seconds, stop, limit_bytes)
        command(objects=objects, **others)

    options = (
        click.option("--spans", is_flag=True, help="Show the spans of the heap by the size of their objects: used and unused bytes."),
        click.option("--types", is_flag=True, help="Show the objects of the heap by type. Go 1.22 and later."),
        click.option(
            "--retain", metavar="TYPE|0xADDR",
            help="Show what keeps objects of a type, or the one at an address, alive: chains from variables and goroutines.",
        ),
        click.option(
            "--seconds", type=click.FloatRange(0, min_open=True), default=_DEFAULT_SECONDS, show_default=True, metavar="S",
            help="Look at the objects of the heap for so long at most.",
        ),
        click.option(
            "--heap-limit", "limit_bytes", callback=size_bytes, metavar="SIZE",
            help="With --retain: maximum size of the heap that is read, of what holds pointers (default: 2GiB).",
        ),
        click.option(
            "--stop", is_flag=True,
            help="With --retain: pause the process while the heap is read, so that no reference moves.",
        ),
    )  # fmt: skip
    decorated: Command = wrapper
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
