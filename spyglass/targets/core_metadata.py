"""What spyglass notes in the cores that it makes: all that a snapshot needs and no other note tells.

JSON, in a note of our own (owner "spyglass", type 1). It comes with a file from anywhere, so nothing of
it is used before its type was checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from spyglass.errors import BadDataError
from spyglass.model import NONE, QUALITIES, Snapshot
from spyglass.process_list import Names
from spyglass.targets.target_process import Facts
from spyglass.wait_graph import UNRESOLVED, Connection, WaitGraph

__all__ = ["CoreMetadata"]

T = TypeVar("T")

_VERSION = 1
_TORN = QUALITIES.index("torn")
_MOVED = UNRESOLVED.index("moved while it was read")
_MAX_NUMBER = 1 << 63
_MAX_THREADS = 1 << 17
_MAX_TEXT = 1 << 21


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """What was known when a core was made.

    `now_ns` is what CLOCK_MONOTONIC said then, `stopped` whether the process stood still, `threads` are
    their ids, names and states, `outer_tids` these ids by those that the process saw, if they were
    others, and `torn` the goroutines whose memory is of more than one moment. `moved`: those that were
    not read again as they are in the core, when what they wait on was read; `connections`: what the file
    descriptors are of that goroutines waited for.
    """

    taken_at: datetime
    now_ns: int | None
    stopped: bool
    facts: Facts
    threads: tuple[tuple[int, str | None, str | None], ...]
    outer_tids: dict[int, int] | None
    torn: frozenset[int]
    moved: frozenset[int] = frozenset()
    connections: Mapping[int, Connection] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        now_ns: int | None,
        outer_tids: Mapping[int, int] | None,
        torn: Iterable[int] = (),
    ) -> CoreMetadata:
        """What is to be noted beside a core from which the same `snapshot` can be taken.

        `torn`: goroutines that are not in the core as they are in `snapshot`.
        """
        process, goroutines = snapshot.process, snapshot.goroutines
        facts = Facts(
            host=snapshot.host,
            exe=process.exe,
            cmdline=process.cmdline,
            started_at=process.started_at,
            uptime_seconds=process.uptime_seconds,
            rss_bytes=process.rss_bytes,
            container=process.container,
            names=Names(process.container_name, process.pod, process.namespace, process.pod_uid),
            memory_limit_bytes=process.memory_limit_bytes,
        )
        return cls(
            taken_at=snapshot.taken_at,
            now_ns=now_ns,
            stopped=snapshot.source.stopped,
            facts=facts,
            threads=tuple((each.tid, each.name, each.os_state) for each in snapshot.threads),
            outer_tids=None if outer_tids is None else dict(outer_tids),
            torn=frozenset([*torn, *goroutines.id[goroutines.quality == _TORN].tolist()]),
            moved=frozenset(_moved(snapshot.waits)),
            connections=_connections(snapshot.waits),
        )

    def pack(self) -> bytes:
        """As JSON."""
        facts = asdict(self.facts)
        del facts["problems"]
        if self.facts.started_at is not None:
            facts["started_at"] = self.facts.started_at.isoformat()
        outer_tids = None if self.outer_tids is None else list(self.outer_tids.items())
        return json.dumps(
            {
                "version": _VERSION,
                "taken_at": self.taken_at.isoformat(),
                "now_ns": self.now_ns,
                "stopped": self.stopped,
                "facts": facts,
                "threads": self.threads,
                "outer_tids": outer_tids,
                "torn": sorted(self.torn),
                "moved": sorted(self.moved),
                "connections": [[fd, *astuple(each)] for fd, each in self.connections.items()],
            }
        ).encode()

    @classmethod
    def parse(cls, raw: bytes) -> CoreMetadata:
        """Out of JSON; `BadDataError` if it is anything else than `pack` makes."""
        try:
            return cls._of(json.loads(raw))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise BadDataError(
                "the metadata that spyglass saved in this core is malformed"
            ) from None

    @classmethod
    def _of(cls, said: dict[str, Any]) -> CoreMetadata:
        if said["version"] != _VERSION:
            raise BadDataError("this core was made by a newer spyglass")
        return cls(
            taken_at=_moment(said["taken_at"]),
            now_ns=_or_none(_number, said["now_ns"]),
            stopped=_flag(said["stopped"]),
            facts=_facts(said["facts"]),
            threads=tuple(
                (_number(tid), _or_none(_text, name), _or_none(_text, state))
                for tid, name, state in _several(said["threads"])
            ),
            outer_tids=_or_none(_tids, said["outer_tids"]),
            torn=frozenset(map(_number, said["torn"])),
            moved=frozenset(map(_number, said.get("moved", []))),
            connections=dict(map(_connection, _several(said.get("connections", [])))),
        )


def _moved(waits: WaitGraph | None) -> list[int]:
    """The goroutines that moved while it was read what they wait on."""
    if waits is None:
        return []
    moved: list[int] = waits.unresolved.goroutine[waits.unresolved.why == _MOVED].tolist()
    return moved


def _connections(waits: WaitGraph | None) -> dict[int, Connection]:
    """What the file descriptors that goroutines wait for are of."""
    if waits is None:
        return {}
    pairs = zip(waits.objects.fd.tolist(), waits.objects.connection.tolist(), strict=True)
    return {fd: waits.connections[number] for fd, number in pairs if number != NONE}


def _connection(said: object) -> tuple[int, Connection]:
    fd, target, *texts, received, sent = _several(said)
    local, remote, state = (_or_none(_text, text) for text in texts)
    queues = _or_none(_number, received), _or_none(_number, sent)
    return _number(fd), Connection(_text(target), local, remote, state, *queues)


def _facts(said: dict[str, Any]) -> Facts:
    return Facts(
        host=_or_none(_text, said["host"]),
        exe=_or_none(_text, said["exe"]),
        cmdline=tuple(map(_text, _several(said["cmdline"]))),
        started_at=_or_none(_moment, said["started_at"]),
        uptime_seconds=_or_none(_seconds, said["uptime_seconds"]),
        rss_bytes=_or_none(_number, said["rss_bytes"]),
        container=_or_none(_text, said["container"]),
        names=_names(said.get("names", {})),
        memory_limit_bytes=_or_none(_number, said["memory_limit_bytes"]),
    )


def _names(said: dict[str, Any]) -> Names:
    """Of the container and the pod; cores of spyglass 0.2 have none."""
    return Names(*(_or_none(_text, said.get(each.name)) for each in fields(Names)))


def _or_none(parse: Callable[[Any], T], value: object) -> T | None:
    return None if value is None else parse(value)


def _several(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MAX_THREADS:
        raise TypeError
    return value


def _tids(value: object) -> dict[int, int]:
    return {_number(inner): _number(outer) for inner, outer in _several(value)}


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise TypeError
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or not 0 <= float(value) < _MAX_NUMBER:
        raise TypeError
    return float(value)


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise TypeError
    return value


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(_text(value)).astimezone(UTC)
