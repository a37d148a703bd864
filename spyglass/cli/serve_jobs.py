"""What ``spyglass serve`` does by itself in every interval: an archive of snapshots, and profiles that are pushed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click

from spyglass.cli.filter_options import span_ns
from spyglass.cli.parquet import PACKAGES, state_directory
from spyglass.cli.push_options import PushOptions, push_header_option
from spyglass.cli.source_options import size_bytes
from spyglass.errors import SpyglassError
from spyglass.serve.settings import PushKind

if TYPE_CHECKING:
    from spyglass.serve.settings import ArchivePlan, PushPlan

__all__ = ["JobOptions", "job_options"]

_LEAST_NS, _DEFAULT_EVERY_NS, _DEFAULT_PUSH_NS = 10**9, 60 * 10**9, 10 * 10**9
#: What Pyroscope's own package for Go sends, too, if it is not told otherwise.
_DEFAULT_KINDS: tuple[PushKind, ...] = ("cpu", "heap")
#: The files of an archive are those of so long, if not told otherwise: many small files are slow to ask.
_FILE_SECONDS = 900


@dataclass(frozen=True)
class JobOptions:
    """What to do in every interval of `every_ns`, with the processes called `names`, or all."""

    every_ns: int
    names: tuple[str, ...]
    redact: bool
    archive: str | None
    batch: int | None
    spool_bytes: int | None
    push: PushOptions | None
    push_ns: int
    push_kinds: tuple[PushKind, ...] = ()

    def push_plan(self) -> PushPlan | None:
        """The profiles that are wanted. Raises `SpyglassError` as `PushOptions.destination`, and `click.UsageError` for what OTLP
        has no form for."""
        if self.push is None:
            return None
        from spyglass.fleet.delivery import MAX_SPOOL_BYTES, spool_of
        from spyglass.serve.settings import PushPlan

        to = self.push.destination()
        if to.form == "otlp" and set(self.push_kinds) - {"cpu"}:
            raise click.UsageError(
                "--push-profile heap and goroutine are for Pyroscope: as OTLP only CPU profiles are sent"
            )
        kinds = self.push_kinds or (("cpu",) if to.form == "otlp" else _DEFAULT_KINDS)
        return PushPlan(
            to, self.every_ns / 1e9, self.push_ns / 1e9, spool_of(to.shown, state_directory()),
            self.spool_bytes or MAX_SPOOL_BYTES, self.names, self.redact, kinds,
        )  # fmt: skip

    def archive_plan(self) -> ArchivePlan | None:
        """The archive that is wanted. Raises `SpyglassError` if there is no such kind of store, or packages are missing."""
        if self.archive is None:
            return None
        try:
            import pyarrow.parquet  # noqa: F401

            from spyglass.fleet.store import open_store
        except ImportError as error:
            raise SpyglassError(f"{error.name} is not installed", PACKAGES) from None
        from spyglass.fleet.delivery import MAX_SPOOL_BYTES, spool_of
        from spyglass.serve.settings import ArchivePlan

        every_s = self.every_ns / 1e9
        return ArchivePlan(
            self.archive, open_store(self.archive), every_s, self.batch or max(round(_FILE_SECONDS / every_s), 1),
            spool_of(self.archive, state_directory()), self.spool_bytes or MAX_SPOOL_BYTES, self.names, self.redact,
        )  # fmt: skip


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --archive, --push and what belongs to them: calls `command` with ``jobs``."""

    @click.option("--archive", metavar="DIR|URL",
        help="Keep snapshots of the Go processes as Parquet files for `spyglass fleet`, in DIR or an object store (s3://bucket/prefix).",
    )  # fmt: skip
    @click.option("--every", "every_ns", callback=span_ns, metavar="DURATION",
        help="How often, with --archive and --push (default: 1m).",
    )  # fmt: skip
    @click.option("--name", "process_names", multiple=True, metavar="NAME",
        help="Only of processes called NAME, with --archive and --push (repeatable).",
    )  # fmt: skip
    @click.option("--redact", is_flag=True,
        help="Without command lines, labels, host name, addresses and directories, with --archive and --push.",
    )  # fmt: skip
    @click.option("--batch", type=click.IntRange(1, 10_000), metavar="N",
        help="Snapshots of each process in one set of files, with --archive (default: those of 15 minutes).",
    )  # fmt: skip
    @click.option("--spool-size", "spool_bytes", callback=size_bytes, metavar="SIZE",
        help="Maximum size of files that wait on this host while the store is away (default: 256M).",
    )  # fmt: skip
    @_pushed
    @functools.wraps(command)
    def wrapper(
        archive: str | None,
        every_ns: int | None,
        process_names: tuple[str, ...],
        redact: bool,
        batch: int | None,
        **others: Any,
    ) -> None:
        spool_bytes, (push, push_ns, push_kinds) = others.pop("spool_bytes"), others.pop("pushed")
        given = (every_ns, spool_bytes) != (None, None) or process_names or redact
        if archive is None and push is None and given:
            raise click.UsageError(
                "--every, --name, --redact and --spool-size require --archive or --push"
            )
        if archive is None and batch is not None:
            raise click.UsageError("--batch requires --archive")
        every_ns = _DEFAULT_EVERY_NS if every_ns is None else every_ns
        if every_ns < _LEAST_NS:
            raise click.UsageError("--every must be 1s or longer")
        if push is not None and not _LEAST_NS <= push_ns <= every_ns:
            raise click.UsageError(
                "--push-duration must be 1s or longer, and not longer than --every"
            )
        jobs = JobOptions(
            every_ns, process_names, redact, archive, batch, spool_bytes, push, push_ns, push_kinds
        )
        command(jobs=jobs, **others)

    return wrapper


def _pushed(command: Callable[..., None]) -> Callable[..., None]:
    """Add --push and what belongs to it: calls `command` with ``pushed``: where to, or None, how long a CPU profile is, in ns, and which
    profiles."""

    @click.option("--push", "push_url", metavar="URL",
        help="Send profiles of each Go process to Pyroscope (http://host:4040), or experimental: as OTLP"
        " (http://host:4318/v1development/profiles).",
    )  # fmt: skip
    @click.option("--push-token-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
        help="Token for --push (default: SPYGLASS_PUSH_TOKEN).",
    )  # fmt: skip
    @push_header_option
    @click.option("--push-profile", "push_kinds", type=click.Choice(get_args(PushKind)), multiple=True,
        help="What is sent with --push (repeatable; default: cpu and heap; as OTLP cpu).",
    )  # fmt: skip
    @click.option("--push-duration", "push_ns", callback=span_ns, metavar="DURATION",
        help="How long a CPU profile is, with --push (default: 10s).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(
        push_url: str | None,
        push_token_file: str | None,
        push_headers: tuple[str, ...],
        push_kinds: tuple[PushKind, ...],
        push_ns: int | None,
        **others: Any,
    ) -> None:
        given = (push_token_file, push_headers, push_kinds, push_ns) != (None, (), (), None)
        if push_url is None and given:
            raise click.UsageError(
                "--push-token-file, --push-header, --push-profile and --push-duration require --push"
            )
        push = None if push_url is None else PushOptions(push_url, push_token_file, push_headers)
        push_ns = _DEFAULT_PUSH_NS if push_ns is None else push_ns
        command(pushed=(push, push_ns, push_kinds), **others)

    return wrapper
