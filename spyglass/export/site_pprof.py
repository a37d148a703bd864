"""A heap, block or mutex profile as ``go tool pprof`` reads it: the values that Go's own have
(``runtime/pprof/protomem.go``, ``pprof.go: printCountCycleProfile``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from spyglass.export.pprof_encoding import ProfileEncoder, write_gzip
from spyglass.export.protobuf import varint
from spyglass.export.site_stacks import site_stacks
from spyglass.model import NONE
from spyglass.site_profile import SiteProfile
from spyglass.version import __version__

__all__ = ["write_pprof"]


def write_pprof(profile: SiteProfile, stream: BinaryIO, *, first: str | None = None) -> None:
    """Write `profile` to `stream`, which stays open, compressed by gzip. `first`: the kind of value that is shown if
    the user names none."""
    write_gzip(_fields(profile, first), stream)


def _fields(profile: SiteProfile, first: str | None) -> Iterator[bytes]:
    encoder = ProfileEncoder(site_stacks(profile))
    yield encoder.values(*profile.kinds)
    if first is not None:
        yield encoder.shown_first(first)
    yield encoder.period(profile.period_kind, profile.period)
    if profile.taken_at is not None:
        yield encoder.time(profile.taken_at)
    yield encoder.comments([f"spyglass {__version__}: {profile.remark}"] if profile.remark else [])
    yield encoder.mapping(profile.process)
    rows = zip(
        profile.stack.tolist(),
        profile.object_bytes.tolist(),
        profile.amounts.tolist(),
        strict=True,
    )
    for stack, size, amounts in rows:
        label = b"" if size == NONE else encoder.number_label("bytes", size)
        yield encoder.sample(stack, b"".join(map(varint, amounts)), label)
    yield from encoder.tables()
