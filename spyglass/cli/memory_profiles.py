"""The profiles of ``spyglass memory``: which are wanted, how they are read, and the files that they are written to."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import redact_option
from spyglass.cli.sources import CoreSource, Source
from spyglass.errors import SpyglassError
from spyglass.formats import exporter, exporter_of_path

if TYPE_CHECKING:
    from spyglass.formats import Exporter
    from spyglass.heap_profile import AsOf, HeapProfile
    from spyglass.inspector import Inspector
    from spyglass.runtime.heap.contention_profile import ContentionKind
    from spyglass.site_profile import SiteProfile

__all__ = ["ProfileOptions", "contention_profile", "heap_profile", "profile_options", "write_sites"]


@dataclass(frozen=True)
class ProfileOptions:
    """Which profile is wanted: of the heap, or `contention`; the file that it is written to, None: it is shown; `redact`:
    without what tells of the host."""

    heap: bool
    contention: ContentionKind | None
    as_of: AsOf
    output: str | None
    redact: bool = False

    def format(self) -> Exporter | None:
        """What writes the output; None if there is none."""
        if self.output is None:
            return None
        if self.output == "-":
            return exporter("sites", "pprof")
        if found := exporter_of_path("sites", self.output):
            return found
        raise click.UsageError(
            f"the name {self.output} tells no format: .pb.gz, .html, .folded, .json or .json.gz"
        )


def profile_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which profile is wanted, as one argument `profiles`."""

    @click.option(
        "--heap", is_flag=True, help="Show which calls allocated memory: the heap profile."
    )
    @click.option(
        "--block", is_flag=True,
        help="Show which calls waited for channels and locks: the block profile, if the program has switched it on.",
    )  # fmt: skip
    @click.option(
        "--mutex", is_flag=True,
        help="Show which calls held locks that others waited for: the mutex profile, if the program has switched it on.",
    )  # fmt: skip
    @click.option(
        "--as-of", type=click.Choice(["now", "gc"]), default="now", show_default=True,
        help="now: the heap profile with the latest allocations; gc: as the program's own profile, which is up to two "
        "garbage collections old.",
    )  # fmt: skip
    @click.option(
        "-o", "--output", type=click.Path(), metavar="FILE",
        help="Write the profile: for go tool pprof (.pb.gz, - for stdout), a flame graph (.html), folded stacks "
        "(.folded), or a document (.json, .json.gz); with --heap, --block or --mutex.",
    )  # fmt: skip
    @redact_option
    @functools.wraps(command)
    def wrapper(
        heap: bool,
        block: bool,
        mutex: bool,
        as_of: AsOf,
        output: str | None,
        redact: bool,
        **others: Any,
    ) -> None:
        if heap + block + mutex > 1:
            raise click.UsageError("--heap, --block and --mutex exclude each other")
        contention: ContentionKind | None = "block" if block else "mutex" if mutex else None
        if output is not None and not heap and contention is None:
            raise click.UsageError("-o requires --heap, --block or --mutex: it writes a profile")
        if output == "-" and sys.stdout.isatty():
            raise click.UsageError("refusing to write a binary file to a terminal; use -o FILE")
        if redact and output is None:
            raise click.UsageError("--redact requires -o: it is about files")
        command(profiles=ProfileOptions(heap, contention, as_of, output, redact), **others)

    return wrapper


def heap_profile(program: Inspector, source: Source, as_of: AsOf) -> HeapProfile:
    """The heap profile of `program`. Raises `SpyglassError` if it has none."""
    try:
        return program.heap_profile(as_of)
    except SpyglassError as error:
        raise _of_core(source, "heap", error) from error


def contention_profile(program: Inspector, source: Source, kind: ContentionKind) -> SiteProfile:
    """The block or mutex profile of `program`. Raises `SpyglassError` if it has none."""
    try:
        return program.contention_profile(kind)
    except SpyglassError as error:
        raise _of_core(source, kind, error) from error


def write_sites(profile: SiteProfile, options: ProfileOptions) -> None:
    """Write `profile` to the output."""
    from spyglass.cli.output_file import written_to

    format_, output = options.format(), options.output
    assert format_ is not None
    assert output is not None
    if options.redact:
        from spyglass.analysis.redaction import redacted_sites

        profile = redacted_sites(profile)
    with written_to(None if output == "-" else Path(output)) as stream:
        format_.write(profile, stream)


def _of_core(source: Source, kind: str, error: SpyglassError) -> SpyglassError:
    if not isinstance(source, CoreSource):
        return error
    return SpyglassError(
        f"the core has no {kind} profile: {error.message}", "spyglass core does not save it"
    )
