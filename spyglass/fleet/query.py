"""Questions about Parquet files of snapshots, answered by DuckDB.

pyarrow opens the files and hands their rows to DuckDB, which has no access to files, to the network or to Python itself
(``enable_external_access``, ``python_enable_replacements``), and cannot change that (``lock_configuration``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from pyarrow import dataset, fs

from spyglass.errors import SpyglassError
from spyglass.fleet.local_store import shown_url
from spyglass.fleet.questions import LATEST, sql_of
from spyglass.fleet.schema import PARTITIONS, TABLES
from spyglass.fleet.store import file_system
from spyglass.fleet_answer import FleetAnswer

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Fleet", "Window"]

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)\b")
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
_BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """Which snapshots are asked: those of `service` (None: of all) from `since` until `until` (None: no limit).

    `fresh_s`: a process whose last snapshot is older than the last one of its service by more than so many seconds has
    ended: it does not count where the last snapshots are asked.
    """

    service: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    fresh_s: int = 3600


class Fleet:
    """The snapshots below a directory or URL. Close it, or use it in a with statement.

    Raises `SpyglassError` if there are none.
    """

    def __init__(self, url: str, window: Window | None = None) -> None:
        window = window or Window()
        self._url = url
        self._connection = duckdb.connect(":memory:", config=_CONFIGURATION)
        try:
            self.register_files()
            self._make_views(window)
            self._connection.execute("SET python_enable_replacements = false")
            self._connection.execute("SET lock_configuration = true")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the files."""
        self._connection.close()

    def ask(
        self, sql: str, parameters: Mapping[str, int | str] | None = None, limit: int | None = None
    ) -> FleetAnswer:
        """Run one query that only reads, and return its first `limit` rows. ``:name`` in `sql` is a parameter.

        Raises `SpyglassError` if it is another statement, or DuckDB refuses it.
        """
        try:
            statements = self._connection.extract_statements(_PARAMETER.sub(r"$\1", sql))
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise SpyglassError("only one SELECT is allowed", "nothing is written")
            result = self._connection.sql(statements[0], params=dict(parameters or {}))
            return _answer(result, limit)
        except duckdb.Error as error:
            raise SpyglassError(f"the query failed: {_first_lines(error)}") from None
        except (pa.ArrowException, OSError) as error:
            raise SpyglassError(f"{shown_url(self._url)} cannot be read: {error}") from None

    def register_files(self) -> None:
        """Ask the files that are there now.

        Raises `SpyglassError` if there are none.
        """
        files, root = _root(self._url)
        found = {name: _dataset(files, f"{root}/{name}", name) for name in TABLES}
        if found["processes"] is None:
            raise SpyglassError(
                f"{shown_url(self._url)} has no snapshots of spyglass",
                "`spyglass snapshot --parquet` writes them",
            )
        for name, rows in found.items():
            schema = _with_partitions(name)
            self._connection.register(
                f"{name}_files", schema.empty_table() if rows is None else rows
            )

    def _make_views(self, window: Window) -> None:
        for name in TABLES:
            where = "" if name == "stacks" else _condition(window)
            self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_files {where}")
        latest = sql_of(LATEST).replace(":fresh_s", str(int(window.fresh_s)))
        self._connection.execute(f"CREATE VIEW {LATEST} AS {latest}")


def _root(url: str) -> tuple[Any, str]:
    if "://" in url:
        files, root = file_system(url)
        return files, root.rstrip("/")
    return fs.LocalFileSystem(), str(Path(url).absolute())


def _with_partitions(table: str) -> pa.Schema:
    return pa.schema([*TABLES[table], *PARTITIONS])


def _dataset(files: Any, path: str, table: str) -> dataset.Dataset | None:
    """The files of one table; None if there are none. A column that a file lacks is null."""
    try:
        if files.get_file_info(path).type != fs.FileType.Directory:
            return None
        return dataset.dataset(
            path,
            schema=_with_partitions(table),
            format="parquet",
            filesystem=files,
            partitioning=dataset.partitioning(PARTITIONS, flavor="hive"),
        )
    except (pa.ArrowException, OSError) as error:
        raise SpyglassError(f"{path} cannot be read: {error}") from None


def _condition(window: Window) -> str:
    """What the rows of a view must meet; dates are there so that no other directory is read."""
    parts = []
    if window.service is not None:
        parts.append(f"service = {_quoted(window.service)}")
    for operator, moment in ((">=", window.since), ("<=", window.until)):
        if moment is not None:
            parts.append(f"taken_s {operator} {int(moment.timestamp())}")
            parts.append(f"date {operator} {_quoted(_day(moment))}")
    return f"WHERE {' AND '.join(parts)}" if parts else ""


def _day(moment: datetime) -> str:
    from datetime import UTC

    return moment.astimezone(UTC).date().isoformat()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _answer(result: duckdb.DuckDBPyRelation, limit: int | None) -> FleetAnswer:
    """The first rows of `result`, through Arrow: DuckDB itself needs pytz for times."""
    batches = result.to_arrow_reader(_BATCH_ROWS)
    columns = tuple(batches.schema.names)
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        rows += zip(*(map(_plain, column.to_pylist()) for column in batch.columns), strict=True)
        if limit is not None and len(rows) > limit:
            return FleetAnswer(columns, tuple(rows[:limit]), more=True)
    return FleetAnswer(columns, tuple(rows), more=False)


def _plain(value: Any) -> Any:
    """A sum of whole numbers, which DuckDB has as a decimal number, as int."""
    return int(value) if isinstance(value, Decimal) and value == int(value) else value


def _first_lines(error: duckdb.Error) -> str:
    return " ".join(str(error).split())[:500]
