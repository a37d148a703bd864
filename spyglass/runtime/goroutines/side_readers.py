"""What is read of goroutines beside their ``g`` and their stacks: the one place to register a reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spyglass.runtime.goroutines.labels import LabelReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Goroutines
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.goroutines.consistency import Batch

__all__ = ["SIDE_READERS", "SideReader", "SideReaders"]


class SideReader(Protocol):
    """Reads one column of `Goroutines` for all goroutines of a snapshot, in batches.

    `column`: its name. `g_fields`: the fields of ``g`` that lead to what is read; where all of them
    are zero there is nothing to read, and where one changes the goroutine has moved. `unread`: the
    value of a goroutine that moved whenever it was read.
    """

    @property
    def column(self) -> str: ...

    @property
    def g_fields(self) -> tuple[str, ...]: ...

    @property
    def unread(self) -> int: ...

    def renew(self) -> None:
        """Begin another reading of the process; numbers go on."""

    def read(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The value for each of `rows`, ``g`` structures that were just read (`fields_of`).

        It is certain only if the goroutine did not move until it was read: the caller checks that.
        """

    def finish(self, column: NDArray[Any]) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """The values as the snapshot has them, given the `column` of all its goroutines as `read`
        gave them; and fields of `Snapshot` that belong to them. Notes problems."""


#: Makes the side readers of a snapshot, in the order they read.
SIDE_READERS: list[Callable[[Runtime], SideReader]] = [LabelReader]


class SideReaders:
    """The side readers for one snapshot of a process."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = Lock()
        self._all = [make(runtime) for make in SIDE_READERS]
        self.columns = [reader.column for reader in self._all]
        self.g_fields = [name for reader in self._all for name in reader.g_fields]

    def renew(self) -> None:
        """Begin another reading of the process; numbers go on."""
        for reader in self._all:
            reader.renew()

    def read(self, batch: Batch, at: NDArray[np.intp] | slice) -> None:
        """Read what belongs to the goroutines `at` of `batch`. It is certain if the goroutine has not
        moved since its ``g`` was read."""
        with self._lock:  # the next batch is read by a thread of its own
            for reader in self._all:
                batch.columns[reader.column][at] = reader.read(batch.rows[at])

    def have_something(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of `rows` have anything for one of the readers to read."""
        return _any_of([rows[name] != 0 for name in _known(self.g_fields, rows)], len(rows))

    def forget(self, batch: Batch, at: NDArray[np.intp]) -> None:
        """Mark what was read of the goroutines `at` as unread, where there is anything to read."""
        for reader in self._all:
            names = _known(reader.g_fields, batch.rows)
            some = _any_of([batch.rows[name][at] != 0 for name in names], len(at))
            batch.columns[reader.column][at[some]] = reader.unread

    def forget_changed(self, batch: Batch, at: NDArray[np.intp], rows: NDArray[Any]) -> None:
        """Mark as unread what has changed since it was read of the goroutines `at`: `rows` are their
        ``g`` now."""
        for reader in self._all:
            names = _known(reader.g_fields, rows)
            changed = _any_of([batch.rows[name][at] != rows[name] for name in names], len(at))
            batch.columns[reader.column][at[changed]] = reader.unread

    def confirm(self, batch: Batch, at: NDArray[np.intp]) -> None:
        """Read what belongs to the goroutines `at` once more, and mark as unread what is not the same.

        To be called once they were found as they were: where nothing counts how often a goroutine ran, it may have
        run and come back, with other things in the same places.
        """
        with self._lock:
            for reader in self._all:
                column = batch.columns[reader.column]
                changed = reader.read(batch.rows[at]) != column[at]
                column[at[changed]] = reader.unread

    def finish(self, goroutines: Goroutines) -> tuple[Goroutines, dict[str, Any]]:
        """`goroutines` with the columns as the snapshot has them, and its fields that belong to these."""
        columns: dict[str, NDArray[Any]] = {}
        snapshot_fields: dict[str, Any] = {}
        for reader in self._all:
            columns[reader.column], more = reader.finish(getattr(goroutines, reader.column))
            snapshot_fields |= more
        return replace(goroutines, **columns), snapshot_fields


def _known(names: Sequence[str], rows: NDArray[Any]) -> list[str]:
    """Those fields `names` that ``g`` has in this version of Go."""
    return [name for name in names if name in (rows.dtype.names or ())]


def _any_of(columns: Sequence[NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, np.bool_)
    for column in columns:
        found |= column
    return found
