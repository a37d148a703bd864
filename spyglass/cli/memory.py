"""``spyglass memory``: the memory of the Go runtime, and who allocated it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.cli.source_options import source_options
from spyglass.cli.sources import CoreSource, ProcessSource, Source
from spyglass.errors import SpyglassError
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.heap_profile import AsOf, HeapProfile
    from spyglass.inspector import Inspector

__all__ = ["memory"]


@click.command("memory", short_help="Show the memory of a Go process, and who allocated it.")
@source_options
@click.option("--heap", is_flag=True, help="Show which calls allocated memory: the heap profile.")
@click.option(
    "--as-of", type=click.Choice(["now", "gc"]), default="now", show_default=True,
    help="now: with the latest allocations; gc: as the program's own profile, which is up to two garbage "
    "collections old.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(), metavar="FILE",
    help="Write the heap profile for go tool pprof (.pb.gz) instead, - for stdout; with --heap.",
)  # fmt: skip
@click.option(
    "--all", "everything", is_flag=True, help="Show all rows, not only as many as fit the terminal."
)
def memory(source: Source, heap: bool, as_of: AsOf, output: str | None, everything: bool) -> None:
    """Show what the Go runtime says of its memory and garbage collections and, with --heap, which calls
    allocated what is in use.

    The heap profile is what net/http/pprof would give, of programs without an endpoint too. The runtime samples
    one allocation in 512 KiB unless the program chooses another rate; numbers are what the samples stand
    for. In a program that cannot write a heap profile the linker switches sampling off: then it says so.
    TARGET is a pid, the name of a Go process, or a core file. The process is not stopped.

    \b
      spyglass memory 1234
      spyglass memory 1234 --heap
      spyglass memory 1234 --heap -o heap.pb.gz         then: go tool pprof -http : heap.pb.gz
    """
    if output is not None and not heap:
        raise click.UsageError("-o requires --heap: it writes the heap profile")
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("refusing to write a binary file to a terminal; use -o FILE")
    with _opened(source) as program:
        profile = _profile(program, source, as_of) if heap else None
        if output is not None and profile is not None:
            _write(profile, output)
        else:
            _show(program, profile, everything=everything)
    for problem in profile.problems if profile is not None else ():
        click.echo(visible(f"{problem.kind}: {problem.subject}: {problem.detail}"), err=True)


def _opened(source: Source) -> Inspector:
    from spyglass import attach, open_core

    if isinstance(source, ProcessSource):
        return attach(source.pid)
    if isinstance(source, CoreSource):
        try:
            return open_core(source.path, source.exe)
        except FileNotFoundError:
            raise SpyglassError(f"no such file: {source.path}") from None
    raise click.UsageError("a saved snapshot has no heap profile; give a process or a core")


def _profile(program: Inspector, source: Source, as_of: AsOf) -> HeapProfile:
    try:
        return program.heap_profile(as_of)
    except SpyglassError as error:
        if not isinstance(source, CoreSource):
            raise
        raise SpyglassError(
            f"the core has no heap profile: {error.message}", "spyglass core does not save it"
        ) from error


def _show(program: Inspector, profile: HeapProfile | None, *, everything: bool) -> None:
    from spyglass.cli.terminal import Terminal
    from spyglass.render.heap_view import render

    terminal = Terminal()
    terminal.show(render(program.snapshot("top"), profile, terminal.view(everything=everything)))


def _write(profile: HeapProfile, output: str) -> None:
    from spyglass.cli.output_file import written_to
    from spyglass.export.heap_pprof import write_heap_pprof

    if profile.why_not is not None:
        raise SpyglassError(f"there is no heap profile: {profile.why_not}")
    with written_to(None if output == "-" else Path(output)) as stream:
        write_heap_pprof(profile, stream)
