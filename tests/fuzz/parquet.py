"""Target: files of a fleet's archive."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from spyglass.fleet.query import Fleet
from spyglass.fleet.schema import TABLES
from tests.fleets import Look, write
from tests.fuzz.target import Target


class _Store:
    """A store of one snapshot; one of its files is replaced."""

    #: Inputs that are read through one connection: to make one takes six times as long as to read an input.
    _INPUTS_OF_A_CONNECTION = 100

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._inputs = 0
        self.root = Path(tempfile.mkdtemp(prefix="fuzz-"))
        weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)
        write(self.root, [Look(0, sending=2, serving=1, limit_bytes=1 << 30)])
        self.files = sorted(self.root.rglob("*.parquet"))
        self.contents = [path.read_bytes() for path in self.files]

    def fleet(self) -> Fleet:
        """Of the files as they are now: nothing that was read of them before is known."""
        if self._inputs % self._INPUTS_OF_A_CONNECTION == 0:
            if self._fleet is not None:
                self._fleet.close()
            self._fleet = Fleet(str(self.root))
        self._inputs += 1
        assert self._fleet is not None
        self._fleet.register_files()
        return self._fleet


@cache
def _store() -> _Store:
    return _Store()


def _seeds() -> Iterator[bytes]:
    for number, content in enumerate(_store().contents):
        yield bytes([number]) + content


def _read(data: bytes) -> None:
    """A byte chooses the file, the rest is in it."""
    store = _store()
    number = data[0] % len(store.files) if data else 0
    store.files[number].write_bytes(data[1:])
    try:
        fleet = store.fleet()
        fleet.ask(f"SELECT * FROM {list(TABLES)[number % len(TABLES)]}", limit=100)
        fleet.ask("SELECT count(*) FROM processes", limit=1)
    finally:
        store.files[number].write_bytes(store.contents[number])


TARGETS = {"parquet": Target(_read, _seeds, max_bytes=1 << 15)}
