"""Targets: files that were saved, by spyglass or by others."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from spyglass.analysis.selection import selected
from spyglass.export import write_json as write_snapshot
from spyglass.export.decompress import unpacked
from spyglass.export.profile_document import write_json as write_profile
from spyglass.export.profile_pprof import write_pprof as write_profile_pprof
from spyglass.export.profile_reader import load_profile
from spyglass.export.site_document import write_json as write_sites
from spyglass.export.site_pprof import write_pprof as write_sites_pprof
from spyglass.export.site_reader import load_any_profile
from spyglass.export.snapshot_reader import load
from spyglass.profile import Profile
from spyglass.render import summary_view
from spyglass.render.view_options import View
from tests.fuzz.files import MemoryFile
from tests.fuzz.target import Target
from tests.made_profiles import SHOP
from tests.made_sites import HEAP
from tests.mutants import BASE, JUNK, changed, paths

__all__ = ["TARGETS", "change_json"]

_MOST = 1 << 26
_VALUES: list[Any] = [
    *JUNK, ..., 1e11, 1e308, -(2**63), 2**31, 65536, [0] * 50, "waiting", "dead", "\x1b[31m", "\u202e", "a" * 300,
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", {"a": "b"}, "mutex", "cgroup", "go1.27.3",
]  # fmt: skip
_FILE = MemoryFile()


def change_json(data: bytes, most: int, chance: random.Random) -> bytes:
    """JSON with another value somewhere, or with a part in another place."""
    try:
        made = json.loads(data)
    except (ValueError, RecursionError):
        return b""
    places = [path for path in paths(made) if path]
    for _ in range(chance.choice([1, 1, 2, 5]) if places else 0):
        path = chance.choice(places)
        value = chance.choice(_VALUES)
        if chance.random() < 0.3:
            value = _at(made, chance.choice(places))
        try:
            made = changed(made, path, value)
        except (LookupError, TypeError):
            continue
    text = json.dumps(made).encode()
    return text if len(text) <= most else b""


def _at(made: Any, path: tuple[str | int, ...]) -> Any:
    """What is at `path`; None if there is nothing now."""
    try:
        for step in path:
            made = made[step]
    except (LookupError, TypeError):
        return None
    return made


def _small() -> bytes:
    """The document with all kinds of things, as short as they are."""
    return json.dumps(BASE).encode()


def _read_snapshot(data: bytes) -> None:
    snapshot = load(io.BytesIO(data), max_bytes=_MOST)
    write_snapshot(snapshot, io.BytesIO())
    if len(data) % 4 == 0:  # to show it takes longer than to read it
        selected(snapshot.goroutines, system=True)
        for line in summary_view.render(
            snapshot, View(listed=True, everything=True, system=True, debug=True)
        ):
            assert line.plain.isprintable()


def _packed() -> Iterator[bytes]:
    import zstandard

    text = b'{"schema":"spyglass.snapshot/1","goroutines":[]}'
    yield text
    yield gzip.compress(text, mtime=0)
    yield zstandard.ZstdCompressor().compress(text)
    page = b'<!doctype html><script type="application/json" id="spyglass-snapshot"'
    yield page + b">" + text + b"</script>"
    yield (
        page
        + b' data-encoding="gzip-base64">'
        + base64.b64encode(gzip.compress(text, mtime=0))
        + b"</script>"
    )


def _read_packed(data: bytes) -> None:
    for _ in unpacked(io.BytesIO(data), _MOST):
        pass
    load(io.BytesIO(data), max_bytes=_MOST)


def _written(write: Callable[..., None], made: Any) -> bytes:
    stream = io.BytesIO()
    write(made, stream)
    return stream.getvalue()


def _unpacked(write: Callable[..., None], made: Any) -> bytes:
    raw = _written(write, made)
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def _read_profile(data: bytes) -> None:
    profile = load_profile(io.BytesIO(data), max_bytes=_MOST)
    write_profile(profile, io.BytesIO())


def _read_any(data: bytes) -> None:
    found = load_any_profile(_FILE.hold(data), max_bytes=_MOST)
    if isinstance(found, Profile):
        write_profile(found, io.BytesIO())
    else:
        write_sites(found, io.BytesIO())


TARGETS = {
    "snapshot": Target(_read_snapshot, lambda: [_small()], change_json, max_bytes=1 << 15),
    "packed": Target(_read_packed, _packed, max_bytes=2048),
    "profile": Target(
        _read_profile, lambda: [_written(write_profile, SHOP)], change_json, max_bytes=1 << 14
    ),
    "sites": Target(
        _read_any, lambda: [_written(write_sites, HEAP)], change_json, max_bytes=1 << 14
    ),
    "pprof": Target(
        _read_any,
        lambda: [_unpacked(write_profile_pprof, SHOP), _unpacked(write_sites_pprof, HEAP)],
        max_bytes=4096,
    ),
}
