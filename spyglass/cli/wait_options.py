"""The options of ``spyglass waits``: what is read, what is shown, and where it is written."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import format_options, redact_option
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.source_options import size_bytes
from spyglass.errors import SpyglassError
from spyglass.formats import Exporter, exporter_of_path

if TYPE_CHECKING:
    from spyglass.model import Snapshot
    from spyglass.runtime.waiting.options import WaitOptions

__all__ = [
    "WaitChoice",
    "WaitOutput",
    "WaitRead",
    "heap_bar",
    "require_waits",
    "wait_choice",
    "wait_output",
    "wait_read",
]

Command = Callable[..., None]

#: Reading that ends sooner gets no progress bar.
_SILENT_SECONDS = 0.5


@dataclass(frozen=True)
class WaitRead:
    """How to read a process: `stop` it meanwhile; whether to read the `heap`, and how many bytes of what holds
    pointers (None: the default)."""

    stop: bool
    heap: bool
    limit_bytes: int | None

    @contextmanager
    def options(self) -> Iterator[WaitOptions]:
        """The options of reading waits, with a progress bar on stderr while the heap is read, if that is a
        terminal and takes long."""
        from spyglass.runtime.waiting.options import DEFAULT_HEAP_LIMIT_BYTES, WaitOptions

        limit = DEFAULT_HEAP_LIMIT_BYTES if self.limit_bytes is None else self.limit_bytes
        if not self.heap:
            yield WaitOptions(heap=False, heap_limit_bytes=limit)
            return
        with heap_bar() as progress:
            yield WaitOptions(heap_limit_bytes=limit, progress=progress)


@contextmanager
def heap_bar() -> Iterator[Callable[[float], None] | None]:
    """A progress bar on stderr while the heap is read, if that is a terminal and takes long: a function of the part that was
    read, None if it is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar()
    try:
        yield bar.show
    finally:
        bar.close()


class _Bar:
    """A progress bar that appears when there is something to wait for."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._progress: Any = None

    def show(self, part: float) -> None:
        """Show `part`, from 0 to 1."""
        now = time.monotonic()
        self._began = self._began or now
        if now - self._began < _SILENT_SECONDS:
            return
        if self._progress is None:
            self._progress = self._start()
        self._progress.update(self._progress.task_ids[0], completed=part)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (TextColumn("reading the heap"), BarColumn(), TaskProgressColumn())
        console = Console(stderr=True, highlight=False)
        progress = Progress(*columns, console=console, transient=True)
        progress.add_task("", total=1.0)
        progress.start()
        return progress


@dataclass(frozen=True)
class WaitChoice:
    """What is shown: the object at `address`, only `stuck` goroutines, those of a filter; all of it, with
    `everything`."""

    address: int | None
    stuck: bool
    goroutine_filter: GoroutineFilter
    everything: bool


@dataclass(frozen=True)
class WaitOutput:
    """What is written and where: `exporter` None is text, `path` None standard output; `redact`: without what
    `spyglass.analysis.redaction` removes."""

    exporter: Exporter | None
    path: Path | None
    redact: bool


class _Address(click.types.StringParamType):
    """An address, in hexadecimal."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            address = int(str(value), 16)
        except ValueError:
            address = 0
        if not 0 < address < 1 << 64:
            self.fail(f"{value!r} is not an address such as 0xc000132018", param, ctx)
        return address


def require_waits(snapshot: Snapshot) -> None:
    """Raise `SpyglassError` if it is not known what the goroutines of `snapshot` wait on."""
    if snapshot.waits is None:
        raise SpyglassError(
            f"{snapshot.file or 'the snapshot'} does not say what goroutines wait on",
            "it was saved with --no-waits, or by an older version of spyglass",
        )


def wait_read(command: Command) -> Command:
    """Add --heap, --heap-limit and --stop: calls `command` with ``read``, a `WaitRead`."""

    @click.option(
        "--heap/--no-heap", default=True,
        help="Read the heap to find goroutines that nothing can wake (default), or not, which is faster.",
    )  # fmt: skip
    @click.option(
        "--heap-limit", "limit_bytes", callback=size_bytes, metavar="SIZE",
        help="Maximum size of the heap that is read, of what holds pointers (default: 2GiB).",
    )  # fmt: skip
    @click.option(
        "--stop", is_flag=True,
        help="Pause the process while reading, for a consistent answer; reports the pause.",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(stop: bool, heap: bool, limit_bytes: int | None, **others: Any) -> None:
        command(read=WaitRead(stop, heap, limit_bytes), **others)

    return wrapper


def wait_choice(command: Command) -> Command:
    """Add --object, --stuck, --all and the filters: calls `command` with ``choice``, a `WaitChoice`."""

    @click.option(
        "--object", "address", type=_Address(), metavar="ADDRESS",
        help="Only this lock, channel or wait group: who holds it, who waits for it.",
    )  # fmt: skip
    @click.option("--stuck", is_flag=True, help="Only goroutines that nothing can wake.")
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="Show all groups, holders and ids.")
    @functools.wraps(command)
    def wrapper(
        address: int | None,
        stuck: bool,
        goroutine_filter: GoroutineFilter,
        everything: bool,
        **others: Any,
    ) -> None:
        command(choice=WaitChoice(address, stuck, goroutine_filter, everything), **others)

    return wrapper


def wait_output(command: Command) -> Command:
    """Add --output, formats and --redact: calls `command` with ``output``, a `WaitOutput`."""

    @click.option(
        "-o", "--output", "path", metavar="FILE",
        help="Output file (.json, .dot, else text), - for stdout (default).",
    )  # fmt: skip
    @format_options("waits")
    @redact_option
    @functools.wraps(command)
    def wrapper(path: str | None, exporter: Exporter | None, redact: bool, **others: Any) -> None:
        file = Path(path) if path and path != "-" else None
        chosen = exporter or exporter_of_path("waits", path or "")
        command(output=WaitOutput(chosen, file, redact), **others)

    return wrapper
