"""Files that a command writes in a container, brought to this disk."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.export.snapshot_file import replacing
from spyglass.kubectl.client import Kubectl, Place

__all__ = ["run_with_files"]

#: Runs its arguments in a new directory, which its first argument names; only its user may enter.
_IN_DIRECTORY = 'mkdir -m 700 "$0" && cd "$0" && exec "$@"'
_MAX_FILES = 16


def run_with_files(
    kubectl: Kubectl, place: Place, command: Sequence[str], output: str | None
) -> int:
    """Run `command`, which writes files, in a container, and bring these here; returns its exit status.

    `output`: the file, or the directory for it; None: in this directory, as the command names it. Each file is here as a whole
    or not at all, and only its owner may read it.
    """
    directory = f"/tmp/spyglass-{secrets.token_hex(8)}"
    folder, name = _destination(output)
    named = [*command, "--output", name] if name else list(command)
    try:
        status = kubectl.run(place, "sh", "-c", _IN_DIRECTORY, directory, *named)
        written = kubectl.output_of(place, "ls", "-A", directory).decode(errors="replace")
        for each in written.splitlines()[:_MAX_FILES]:
            _bring(kubectl, place, f"{directory}/{each}", folder / _checked(each))
        return status
    finally:
        kubectl.output_of(place, "rm", "-rf", directory)


def _destination(output: str | None) -> tuple[Path, str | None]:
    """The directory here that a file comes into, and the name that it gets; None: the command names it."""
    if output is None:
        return Path(), None
    path = Path(output)
    return (path, None) if path.is_dir() else (path.parent, path.name)


def _bring(kubectl: Kubectl, place: Place, there: str, here: Path) -> None:
    with replacing(here) as stream:
        kubectl.copy(place, there, stream)


def _checked(name: str) -> str:
    """`name`, if a file may get it here."""
    if PurePosixPath(name).name != name or name.startswith(".") or visible(name) != name:
        raise SpyglassError(f"the container has a file with an odd name: {name}")
    return name
