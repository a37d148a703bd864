"""A heap, block or mutex profile as a document of plain values: ``spyglass.sites/1``, see ``sites.schema.json``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO

from spyglass.export.gzip_stream import gzipped
from spyglass.export.json_text import compact, joined, object_text, write_line
from spyglass.export.plain_values import plain, record
from spyglass.model import NONE
from spyglass.site_profile import SiteProfile
from spyglass.version import __version__

__all__ = ["SCHEMA", "header", "write_gzip", "write_json"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.sites/1"


def write_json(profile: SiteProfile, stream: BinaryIO) -> None:
    """Write the document of `profile` on one line of ASCII."""
    lists = {"stacks": joined(_stacks(profile)), "samples": joined(_samples(profile))}
    whole = header(profile) | {
        "frames": [record(frame) for frame in profile.frames],
        "stacks": [],
        "samples": [],
        "problems": [record(problem) for problem in profile.problems],
    }
    write_line(object_text(whole, lists), stream)


def write_gzip(profile: SiteProfile, stream: BinaryIO) -> None:
    """Write the document of `profile`, compressed by gzip, to `stream`, which stays open."""
    with gzipped(stream) as packed:
        write_json(profile, packed)


def header(profile: SiteProfile) -> dict[str, Any]:
    """The document without its lists."""
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "kind": profile.kind,
        "process": record(profile.process),
        "taken_at": plain(profile.taken_at),
        "remark": plain(profile.remark),
        "kinds": [{"name": plain(name), "unit": plain(unit)} for name, unit in profile.kinds],
        "period": {
            "name": plain(profile.period_kind.name),
            "unit": plain(profile.period_kind.unit),
            "value": profile.period,
        },
    }


def _stacks(profile: SiteProfile) -> Iterator[str]:
    frames = profile.stack_frames.tolist()
    for low, high in pairwise(profile.stack_offsets.tolist()):
        yield compact(frames[low:high])


def _samples(profile: SiteProfile) -> Iterator[str]:
    columns = (profile.stack, profile.object_bytes, profile.amounts)
    for stack, size, amounts in zip(*(each.tolist() for each in columns), strict=True):
        size_text = "null" if size == NONE else str(size)
        yield f'{{"stack":{stack},"object_bytes":{size_text},"values":{compact(amounts)}}}'
