"""``spyglass snapshot --parquet``: snapshots as Parquet files, in a directory or an object store."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.source_options import size_bytes
from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.words.units import plural

if TYPE_CHECKING:
    from spyglass.fleet.archive import Archive
    from spyglass.fleet.delivery import Delivery
    from spyglass.fleet.local_store import File, Store
    from spyglass.model import Snapshot

__all__ = ["PACKAGES", "ParquetKeeper", "ParquetOptions", "parquet_options", "state_directory"]

PACKAGES = "pip install 'spyglass[fleet]' installs what it needs"
#: Seconds that the end of a series waits for a store.
_END_SECONDS = 10.0


@dataclass(frozen=True)
class ParquetOptions:
    """Where to write Parquet files, and how: the name of the `service`, snapshots in a `batch`, bytes of the spool."""

    url: str
    service: str | None
    batch: int
    spool_bytes: int | None

    def keeper(self, series: bool) -> ParquetKeeper:
        """What writes the files of one snapshot, or of a `series`. Raises `SpyglassError` if packages are missing."""
        try:
            from spyglass.fleet.archive import Archive
            from spyglass.fleet.store import open_store
        except ImportError as error:
            raise SpyglassError(f"{error.name} is not installed", PACKAGES) from None
        store = open_store(self.url)
        delivery = None if store.is_local or not series else self._delivery(store)
        return ParquetKeeper(
            self.url, store, Archive(self.service, self.batch if series else 1), delivery
        )

    def _delivery(self, store: Store) -> Delivery:
        from spyglass.fleet.delivery import MAX_SPOOL_BYTES, Delivery, spool_of

        spool = spool_of(self.url, state_directory())

        def tell(error: OSError) -> None:
            click.echo(visible(f"files wait in {spool}: {error.strerror or error}"), err=True)

        return Delivery(store, spool, self.spool_bytes or MAX_SPOOL_BYTES, tell)


def state_directory() -> Path:
    """Where state is kept: the directory that systemd made for this service, or the user's."""
    if made := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(made)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def parquet_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --parquet and what belongs to it: calls `command` with ``parquet``, which may be None."""

    @click.option("--parquet", "url", metavar="DIR|URL",
        help="Write Parquet files for `spyglass fleet` below DIR, or to an object store (s3://bucket/prefix).",
    )  # fmt: skip
    @click.option("--service", metavar="NAME",
        help="Service that the process belongs to, with --parquet (default: name of the executable).",
    )  # fmt: skip
    @click.option("--batch", type=click.IntRange(1, 10_000), metavar="N",
        help="Snapshots in one set of files, with --parquet and --every (default: 1).",
    )  # fmt: skip
    @click.option("--spool-size", callback=size_bytes, metavar="SIZE",
        help="Maximum size of files that wait on this host while the store is away (default: 256M).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(
        url: str | None,
        service: str | None,
        batch: int | None,
        spool_size: int | None,
        **others: Any,
    ) -> None:
        if url is None and (service, batch, spool_size) != (None, None, None):
            raise click.UsageError("--service, --batch and --spool-size require --parquet")
        if service is not None and not service.strip():
            raise click.UsageError("--service must not be empty")
        parquet = None if url is None else ParquetOptions(url, service, batch or 1, spool_size)
        command(parquet=parquet, **others)

    return wrapper


@dataclass
class ParquetKeeper:
    """Writes snapshots as Parquet files to a store; those of a series to a remote one through `delivery`."""

    url: str
    store: Store
    archive: Archive
    delivery: Delivery | None
    left: int = field(default=0, init=False)

    def save(self, taken: Snapshot) -> None:
        """Write `taken`, at once or with those that follow."""
        self._write(self.archive.add(taken))

    def close(self) -> None:
        """Write what was not written yet, and wait some seconds for the store."""
        self._write(self.archive.rest())
        if self.delivery is not None:
            self.left = self.delivery.close(_END_SECONDS)

    def account(self, saved: int) -> str:
        """How many snapshots were taken, and what became of their files."""
        from spyglass.fleet.local_store import shown_url

        words = f"{plural(saved, 'snapshot')} for {visible(shown_url(self.url))}"
        if self.delivery is None:
            return words
        words += f", {plural(self.delivery.delivered, 'file')} delivered"
        if self.left:
            words += f", {self.left:,} wait in {visible(str(self.delivery.spool))}"
        return words + (f", {self.delivery.dropped:,} dropped" if self.delivery.dropped else "")

    def _write(self, files: Iterable[File]) -> None:
        from spyglass.fleet.delivery import write_with_retries

        for file in files:
            if self.delivery is None:
                write_with_retries(self.store, file)
                print(visible(file.name), flush=True)
            elif not self.delivery.put(file):
                self.archive.forget_stacks()
