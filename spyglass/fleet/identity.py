"""What snapshots are told apart by: service, version, process, moment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

from spyglass.fleet.texts import clean
from spyglass.model import Snapshot

__all__ = ["Identity", "identity", "service_of"]

#: The version that Go records for a main module built from a working directory.
_NO_VERSION = "(devel)"
_BUILD_ID_LENGTH = 12
_UNKNOWN = "unknown"
#: Characters of a service's name, which becomes a directory: of 255 bytes at most, three for an odd one.
_MAX_SERVICE = 60


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process of which service a snapshot is of, and when it was taken.

    `instance` is the same for all snapshots of one process: a hash of host, pid and start. `version`: of the main module, or
    else the beginning of the build id; None: not known.
    """

    service: str
    instance: str
    snapshot_id: str
    version: str | None
    host: str | None
    taken_at: datetime

    @property
    def date(self) -> str:
        """The day in UTC on which it was taken."""
        return self.taken_at.astimezone(UTC).date().isoformat()


def identity(snapshot: Snapshot, service: str | None = None) -> Identity:
    """The identity of `snapshot`; `service`: its name, where that is not the name of the executable."""
    process = snapshot.process
    started = process.started_at.timestamp() if process.started_at else None
    instance = _hashed(snapshot.host, process.pid, started)
    version = process.module_version
    if version in (None, "", _NO_VERSION):
        version = process.build_id[:_BUILD_ID_LENGTH] if process.build_id else None
    return Identity(
        service=clean(service or service_of(snapshot))[:_MAX_SERVICE],
        instance=instance,
        snapshot_id=_hashed(instance, snapshot.taken_at.timestamp()),
        version=version,
        host=snapshot.host,
        taken_at=snapshot.taken_at,
    )


def service_of(snapshot: Snapshot) -> str:
    """The name of the executable, or else the last part of the module's path."""
    process = snapshot.process
    for path in (process.exe, process.module):
        if path and (name := os.path.basename(path)):
            return name
    return _UNKNOWN


def _hashed(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()
