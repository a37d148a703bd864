"""A profile as a document of plain values: ``spyglass.profile/1``, see ``profile.schema.json``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, BinaryIO

from spyglass.export.gzip_stream import gzipped
from spyglass.export.json_text import (
    compact,
    compact_rest,
    joined,
    object_text,
    record_template,
    write_line,
)
from spyglass.export.plain_values import plain, record
from spyglass.model import NONE
from spyglass.profile import Account, Profile
from spyglass.version import __version__

__all__ = ["SCHEMA", "header", "write_gzip", "write_json"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.profile/1"

#: What is a sample's own; the rest many have in common.
_OWN = ("stack", "count", "value_ns")
_SHARED_KEPT = 65536
_BATCH_ROWS = 16384


def write_json(profile: Profile, stream: BinaryIO) -> None:
    """Write the document of `profile` on one line of ASCII."""
    lists = {"stacks": _stacks(profile), "samples": _samples(profile)}
    write_line(object_text(header(profile), lists), stream)


def write_gzip(profile: Profile, stream: BinaryIO) -> None:
    """Write the document of `profile`, compressed by gzip, to `stream`, which stays open."""
    with gzipped(stream) as packed:
        write_json(profile, packed)


def header(profile: Profile) -> dict[str, Any]:
    """The document with its lists of stacks and samples left empty."""
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "mode": profile.mode,
        "host": plain(profile.host),
        "process": record(profile.process),
        "started_at": plain(profile.started_at),
        "duration_ns": profile.duration_ns,
        "rate_hz": profile.rate_hz,
        "account": _account(profile.account),
        "chosen_from": profile.chosen_from,
        "frames": [record(frame) for frame in profile.frames],
        "stacks": [],
        "samples": [],
        "problems": [record(problem) for problem in profile.problems],
    }


def _account(account: Account) -> dict[str, Any]:
    return record(account) | {"coverage": account.coverage}


def _stacks(profile: Profile) -> Iterator[str]:
    offsets = profile.stack_offsets
    for first in range(0, len(offsets) - 1, _BATCH_ROWS):
        some = offsets[first : first + _BATCH_ROWS + 1].tolist()
        frames = profile.stack_frames[some[0] : some[-1]].tolist()
        batch = [frames[low - some[0] : high - some[0]] for low, high in pairwise(some)]
        yield ("," if first else "") + compact(batch)[1:-1]


def _samples(profile: Profile) -> Iterator[str]:
    s = profile.samples
    template = record_template(_OWN)
    shared = lru_cache(_SHARED_KEPT)(lambda key: compact_rest(_shared(profile, key)))
    own = zip(_known(s.stack.tolist(), "null"), s.count.tolist(), s.value_ns.tolist(), strict=True)
    columns = (s.goroutine, s.labels, s.state, s.thread)
    keys = zip(*(column.tolist() for column in columns), strict=True)
    return joined(template % (*mine, shared(key)) for mine, key in zip(own, keys, strict=True))


def _shared(profile: Profile, key: tuple[int, int, int, int]) -> dict[str, Any]:
    goroutine, labels, state, thread = key
    found = profile.label_sets[labels] if labels >= 0 else {}
    return {
        "goroutine": goroutine if goroutine != NONE else None,
        "labels": {plain(name): plain(value) for name, value in found.items()},
        "state": plain(profile.states[state]) if state >= 0 else None,
        "thread": thread if thread != NONE else None,
    }


def _known(numbers: list[int], none: str) -> list[int | str]:
    return [number if number >= 0 else none for number in numbers]
