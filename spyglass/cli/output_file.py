"""The file, or standard output, that a command writes its result to."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import BinaryIO

import click

from spyglass.escape import visible

__all__ = ["written_to"]


@contextmanager
def written_to(path: Path | None) -> Iterator[BinaryIO]:
    """The stream of the file at `path`, which is then named on standard output; None: standard output.

    What the block prints goes there too.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    from spyglass.export.snapshot_file import replacing

    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", write_through=True)
        with redirect_stdout(text):
            yield stream
        text.detach()
    click.echo(visible(str(path)))
