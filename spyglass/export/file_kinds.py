"""What a file is that is no snapshot, and which command reads it."""

from __future__ import annotations

import os
import re

from spyglass.errors import BadDataError, SpyglassError
from spyglass.export.decompress import contents
from spyglass.export.profile_proto import is_pprof

__all__ = ["is_document", "not_a_snapshot"]

#: How a document of spyglass begins.
_SCHEMA = re.compile(rb'\s*\{\s*"schema"\s*:\s*"spyglass\.([a-z-]{1,20})/\d{1,9}"')
_MODE = re.compile(rb'"mode"\s*:\s*"(cpu|wall|offcpu)"')
_MODES = {b"cpu": "a CPU profile", b"wall": "a wall-clock profile", b"offcpu": "an off-CPU profile"}
#: What the documents are that no command reads.
_RESULTS = {
    b"diff": "a comparison of snapshots", b"profile-diff": "a comparison of profiles", b"ps": "a list of processes",
    b"top": "output of `spyglass top --json`", b"waits": "output of `spyglass waits --json`",
}  # fmt: skip


def is_document(start: bytes, schema: str) -> bool:
    """Whether a text that begins with `start` is a document of `schema`, whichever program wrote it down last."""
    found = _SCHEMA.match(start)
    return found is not None and found[0].endswith(f'"{schema}"'.encode())


def not_a_snapshot(file: str) -> SpyglassError | None:
    """The error for `file` if it is known to be something else than a snapshot, by what it begins with."""
    try:
        with open(file, "rb") as stream:
            start = contents(stream)[1]
    except (SpyglassError, OSError):
        return None
    if is_pprof(start):
        hint = "`go tool pprof` shows it; `spyglass record --from` and `diff` read those of CPU and wall-clock time"
        return BadDataError(f"{file} is a profile in the form of pprof, not a snapshot", hint)
    found = _SCHEMA.match(start)
    if found is None:
        return None
    if found[1] == b"profile":
        mode = _MODE.search(start)
        return _profile(file, _MODES[mode[1]] if mode else "a profile")
    if found[1] in _RESULTS:
        hint = "`spyglass snapshot` saves what all commands read"
        return BadDataError(f"{file} is {_RESULTS[found[1]]}, not a snapshot", hint)
    return None


def _profile(file: str, what: str) -> SpyglassError:
    name = os.path.basename(file)
    hint = f"`spyglass record --from {name} -o x.html` shows it, `spyglass diff` compares two"
    return BadDataError(f"{file} is {what}, not a snapshot", hint)
