"""What ``spyglass serve`` is told when it starts, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from spyglass.fleet.local_store import Store
    from spyglass.push.destination import Destination

__all__ = ["DEFAULT_PORT", "ArchivePlan", "PushKind", "PushPlan", "Settings"]

DEFAULT_PORT = 8974

#: What is pushed of a process.
PushKind = Literal["cpu", "heap", "goroutine"]


@dataclass(frozen=True)
class ArchivePlan:
    """Snapshots every `every_s` of the processes called `names` (none: of all Go processes), in `store`, which is at `url`; a set
    of files has those of `batch` rounds. Files wait in the directory `spool`, at most so many bytes."""

    url: str
    store: Store
    every_s: float
    batch: int
    spool: Path
    spool_bytes: int
    names: tuple[str, ...] = ()
    redact: bool = False


@dataclass(frozen=True)
class PushPlan:
    """Profiles of these `kinds` every `every_s` of the processes called `names` (none: of all Go processes), pushed to `to`; one of
    processor time is of `seconds`. Requests wait in the directory `spool`, at most so many bytes."""

    to: Destination
    every_s: float
    seconds: float
    spool: Path
    spool_bytes: int
    names: tuple[str, ...] = ()
    redact: bool = False
    kinds: tuple[PushKind, ...] = ("cpu",)


@dataclass(frozen=True)
class Settings:
    """The settings of a server.

    `token`: what every request must have. `hosts`: names in the Host header that are accepted beside
    IP addresses and localhost, in lower case; None: any (a Unix socket, which no browser reaches). `secure`: it speaks TLS, so its
    cookie is for TLS alone. `max_cpu`: the share of one processor that readings may take over time. `readings`: how
    many at once. `waiting`: how many may wait for their turn. `limit_s`: how long a request waits for its answer.
    `idle_s`: an inspector that nobody used for so long is closed. `inspectors`: how many are open at most.
    `requests`: how many are answered at once. `streams`: how many live views there are at once. `recordings`: how
    many at once. `kept`: how many snapshots are kept, and how many recordings that have ended. `top_groups`: how many
    groups of goroutines of each process have a metric. `heap_metrics`: whether goroutines that nothing can wake
    have one, too. `archive`: None: no archive is kept. `push`: None: no profiles are pushed. `snapshots`: the folder of
    saved snapshots that an assistant may read. `allow_stop`: whether it may stop a process while it is read.
    """

    token: str
    hosts: frozenset[str] | None = frozenset()
    secure: bool = False
    max_cpu: float = 0.3
    readings: int = 4
    waiting: int = 256
    limit_s: float = 30.0
    idle_s: float = 60.0
    inspectors: int = 16
    requests: int = 2048
    streams: int = 16
    recordings: int = 4
    kept: int = 32
    top_groups: int = 20
    heap_metrics: bool = False
    archive: ArchivePlan | None = None
    snapshots: str | None = None
    allow_stop: bool = False
    push: PushPlan | None = None
