"""The output of ``spyglass dump``: its format, and the file or standard output that it is written to."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from spyglass.cli.common_options import format_options, redact_option
from spyglass.cli.output_file import written_to
from spyglass.formats import Exporter, dump_exporters, exporter_of_path

if TYPE_CHECKING:
    from spyglass.model import Snapshot

__all__ = ["Output", "output_options"]


@dataclass(frozen=True)
class Output:
    """What to write and where: `exporter` None is text, `path` None standard output; `redact`: without
    what `spyglass.analysis.redaction` removes."""

    exporter: Exporter | None
    path: Path | None
    redact: bool

    @property
    def is_document(self) -> bool:
        """Whether a whole snapshot is written, with runtime goroutines and threads."""
        return self.exporter is not None and not self.exporter.only_stacks

    def check(self) -> None:
        """Raise `click.UsageError` if a terminal would get what is not text."""
        if self.exporter and not self.exporter.is_text and not self.path and sys.stdout.isatty():
            raise click.UsageError("refusing to write a compressed file to a terminal; use -o FILE")

    def of(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot`, redacted if that was given."""
        if not self.redact:
            return snapshot
        from spyglass.analysis.redaction import redacted

        return redacted(snapshot)

    def opened(self) -> AbstractContextManager[BinaryIO]:
        """The stream to write to. What is printed meanwhile goes there too."""
        return written_to(self.path)


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the output: calls `command` with ``output``, an `Output`."""
    names = ["text", *(each.name for each in dump_exporters())]

    @click.option(
        "--format", "written", type=click.Choice(names), metavar="FORMAT",
        help=f"{', '.join(names)} (default: by the extension of --output, else text).",
    )  # fmt: skip
    @click.option(
        "-o", "--output", "path", metavar="FILE", help="Output file, - for stdout (default)."
    )
    @format_options("snapshot")
    @redact_option
    @functools.wraps(command)
    def wrapper(
        exporter: Exporter | None,
        written: str | None,
        path: str | None,
        redact: bool,
        **others: Any,
    ) -> None:
        if exporter is not None and written is not None:
            raise click.UsageError(f"--{exporter.name} and --format are mutually exclusive")
        if exporter is None:
            exporter = _exporter(written, path)
        file = Path(path) if path and path != "-" else None
        command(output=Output(exporter, file, redact), **others)

    return wrapper


def _exporter(name: str | None, path: str | None) -> Exporter | None:
    """The format `name`, or else that of the extension of `path`; None: text."""
    if name is not None:
        return next((each for each in dump_exporters() if each.name == name), None)
    found = exporter_of_path("snapshot", path or "")
    if found is not None and found.name == "html":
        raise click.UsageError("use `spyglass report` to write a page")
    return found
