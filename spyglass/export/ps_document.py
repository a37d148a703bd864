"""A list of Go processes as JSON: ``spyglass.ps/1``, see ``ps.schema.json``."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import BinaryIO

from spyglass.process_list import ProcessList
from spyglass.version import __version__

__all__ = ["SCHEMA", "write_processes"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.ps/1"


def write_processes(listing: ProcessList, stream: BinaryIO) -> None:
    """Write `listing` as a document on one line of ASCII, which is safe on a terminal."""
    document = {"schema": SCHEMA, "spyglass_version": __version__} | asdict(listing)
    text = json.dumps(document, separators=(",", ":"), default=_moment)
    stream.write(text.encode("ascii") + b"\n")


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
