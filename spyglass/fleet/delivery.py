"""Files on their way to a store that may be slow or away: a bounded spool on the local disk, and a thread that empties it.

The spool is a directory with the same paths as the store. A file is in it as a whole or not at all, and is deleted when the
store has it, so what is left when spyglass ends is delivered by the next run. Several processes may share a spool: a file
that two deliver is the same.
"""

from __future__ import annotations

import os
import random
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from spyglass.errors import SpyglassError
from spyglass.fleet.local_store import File, LocalStore, Store, shown_url

__all__ = [
    "MAX_SPOOL_BYTES",
    "Delivery",
    "DeliveryState",
    "require_own",
    "spool_of",
    "write_with_retries",
]

MAX_SPOOL_BYTES = 256 << 20
#: Seconds between two attempts: the first, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_ATTEMPTS = 3


def write_with_retries(store: Store, file: File) -> None:
    """Write `file`, trying it again twice if the store is not local. Raises `OSError`."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return store.write(file.name, file.data)
        except OSError:
            if store.is_local or attempt == _ATTEMPTS:
                raise
            time.sleep(_FIRST_PAUSE * 2**attempt)


def spool_of(url: str, state: Path) -> Path:
    """The directory below `state` for files on their way to `url`."""
    name = blake2b(shown_url(url).encode(), digest_size=6).hexdigest()
    return state / "spyglass" / "spool" / name


def require_own(folder: Path) -> None:
    """Raise `SpyglassError` if another user than root could have put something into `folder`, or put another in its place:
    what is in a spool is sent away, and deleted."""
    folder = folder.resolve()
    for each in (folder, *folder.parents):
        status = each.stat()
        writable = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or writable:
            raise SpyglassError(
                f"files would wait in {folder}, and another user can change {each}",
                "set XDG_STATE_HOME to a directory of your own",
            )


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How far delivery is. `waiting` files with so many bytes are in the spool; `delivered` and `dropped` are counted since spyglass
    started; `delivered_at`: when the last one was; `error`: why the store did not take the last one that was tried."""

    waiting: int
    waiting_bytes: int
    delivered: int
    dropped: int
    delivered_at: datetime | None
    error: str | None


class Delivery:
    """Delivers files from `spool` to `store` in the background; `put` waits for the local disk only.

    `on_failure` is called with the first error, and again after the store was back. The counts: `delivered`
    files, `dropped` ones because the spool had more than `max_bytes`.
    """

    def __init__(
        self,
        store: Store,
        spool: Path,
        max_bytes: int = MAX_SPOOL_BYTES,
        on_failure: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self._store, self._max_bytes, self._on_failure = store, max_bytes, on_failure
        spool.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        require_own(spool.parent)
        self.spool = spool
        self._spool = LocalStore(spool)
        self.delivered = self.dropped = 0
        self._delivered_at: datetime | None = None
        self._error: str | None = None
        self._work, self._ending = threading.Event(), threading.Event()
        self._work.set()  # files of an earlier run
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def put(self, file: File) -> bool:
        """Take `file`; False if older files had to be deleted for it, or it is larger than the spool."""
        fits = self._make_room(len(file.data))
        if len(file.data) <= self._max_bytes:
            self._spool.write(file.name, file.data)
        self._work.set()
        return fits

    def state(self) -> DeliveryState:
        """How far it is; reads the directory of the spool."""
        sizes = [size for _, size, _ in self._list()]
        return DeliveryState(
            len(sizes), sum(sizes), self.delivered, self.dropped, self._delivered_at, self._error
        )

    def close(self, seconds: float) -> int:
        """Deliver what is left for at most so many seconds; returns how many files stay in the spool."""
        self._ending.set()
        self._work.set()
        self._thread.join(seconds)
        return len(self._waiting())

    def _make_room(self, needed: int) -> bool:
        """Delete the oldest files until `needed` bytes fit; False if any was deleted or they never fit."""
        waiting = self._waiting()
        size = sum(each for _, each, _ in waiting) + needed
        before = self.dropped
        for _, each, path in waiting:
            if size <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            size -= each
            self.dropped += 1
        if needed > self._max_bytes:
            self.dropped += 1
        return self.dropped == before

    def _waiting(self) -> list[tuple[int, int, Path]]:
        """The files of the spool, the oldest first: time, size, path."""
        return sorted(self._list())

    def _list(self) -> Iterator[tuple[int, int, Path]]:
        for path in self._spool.root.rglob("[!.]*"):
            with suppress(FileNotFoundError):  # another process delivered it
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    yield status.st_mtime_ns, status.st_size, path

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._work.wait()
            self._work.clear()
            try:
                self._deliver_all()
                pause = _FIRST_PAUSE
                if self._ending.is_set() and not self._work.is_set():
                    return
            except Exception as error:  # of any driver: the thread goes on
                self._error = str(getattr(error, "strerror", None) or error)
                if pause == _FIRST_PAUSE:
                    self._on_failure(error if isinstance(error, OSError) else OSError(None, self._error))  # fmt: skip
                # Not all hosts at once when the store is back.
                self._ending.wait(pause * random.uniform(0.5, 1))
                # At the end, what the store refuses now is left for the next run.
                if self._ending.is_set() and pause > _FIRST_PAUSE:
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._work.set()

    def _deliver_all(self) -> None:
        for _, _, path in self._waiting():
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # delivered by another process, or dropped
                continue
            self._store.write(path.relative_to(self._spool.root).as_posix(), data)
            path.unlink(missing_ok=True)
            self.delivered += 1
            self._delivered_at, self._error = datetime.now(UTC), None
