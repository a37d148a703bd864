"""Snapshots into Parquet files: collected, encoded, named, and written to a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from spyglass.export.snapshot_file import file_name
from spyglass.fleet.identity import Identity, identity
from spyglass.fleet.local_store import File
from spyglass.fleet.tables import fleet_tables
from spyglass.model import Snapshot

__all__ = ["Archive"]

#: Names of stacks that are remembered as written; some 100 bytes each.
_MAX_REMEMBERED = 500_000
#: Bytes of tables that are kept until they are written, whatever `Archive.batch` says, unless told otherwise.
_MAX_PENDING_BYTES = 256 << 20
#: Stacks first: a group never refers to a stack that is still to be written.
_ORDER = ("stacks", "groups", "waits", "memory", "processes")


@dataclass
class Archive:
    """Makes a set of files of every `batch` snapshots. `service`: their service, where it is not the executable's name.

    A stack is written once for each day and service, as long as this object lives.
    """

    service: str | None = None
    batch: int = 1
    max_pending_bytes: int = _MAX_PENDING_BYTES
    _taken: int = field(default=0, init=False)
    _pending_bytes: int = field(default=0, init=False)
    _pending: dict[tuple[str, str, str], list[pa.Table]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    #: The name of the files of a day and service: that of their first snapshot.
    _names: dict[tuple[str, str], str] = field(default_factory=dict, init=False)
    _written: dict[tuple[str, str], set[str]] = field(default_factory=dict, init=False)

    def add(self, snapshot: Snapshot) -> list[File]:
        """Take `snapshot`; returns the files that are complete now."""
        who = identity(snapshot, self.service)
        files = list(self.rest()) if self._is_of_another_day(who) else []
        written = self._stacks_of(who)
        tables = fleet_tables(snapshot, who, written)
        written.update(tables["stacks"].column("stack_id").to_pylist())
        for table, rows in tables.items():
            if len(rows):
                self._pending[table, who.date, who.service].append(rows)
                self._pending_bytes += rows.nbytes
        self._names.setdefault((who.date, who.service), _file_name(snapshot, who))
        self._taken += 1
        if self._taken >= self.batch or self._pending_bytes >= self.max_pending_bytes:
            files += self.rest()
        return files

    def rest(self) -> Iterator[File]:
        """The files of the snapshots that were taken since the last files."""
        pending, names = self._pending, self._names
        self._pending, self._names = defaultdict(list), {}
        self._taken = self._pending_bytes = 0
        for (table, date, service), rows in sorted(pending.items(), key=_rank):
            name = names[date, service]
            path = f"{table}/date={date}/service={quote(service, safe='')}/{name}.parquet"
            yield File(path, _encoded(pa.concat_tables(rows)))

    def forget_stacks(self) -> None:
        """Write all stacks once more: files of stacks were lost."""
        self._written.clear()

    def _is_of_another_day(self, who: Identity) -> bool:
        return any(date != who.date for _, date, _ in self._pending)

    def _stacks_of(self, who: Identity) -> set[str]:
        for key in [key for key in self._written if key[0] != who.date]:
            del self._written[key]
        if sum(map(len, self._written.values())) > _MAX_REMEMBERED:
            self._written.clear()
        return self._written.setdefault((who.date, who.service), set())


def _rank(item: tuple[tuple[str, str, str], list[pa.Table]]) -> int:
    return _ORDER.index(item[0][0])


def _file_name(snapshot: Snapshot, who: Identity) -> str:
    """A name that no other process's or snapshot's file has; it begins with what people look for."""
    process = snapshot.process
    words = file_name(process.exe or process.module, who.host, process.pid, who.taken_at)
    return f"{words}-{who.snapshot_id}"


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3, store_schema=False)
    data: bytes = sink.getvalue().to_pybytes()
    return data
