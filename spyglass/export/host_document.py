"""What a host allows as JSON: ``spyglass.doctor/1``, see ``doctor.schema.json``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import BinaryIO

from spyglass.host_report import HostReport
from spyglass.version import __version__

__all__ = ["SCHEMA", "write_report"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.doctor/1"


def write_report(report: HostReport, stream: BinaryIO) -> None:
    """Write `report` as a document on one line of ASCII, which is safe on a terminal."""
    document = {"schema": SCHEMA, "spyglass_version": __version__, "refused": report.refused}
    text = json.dumps(document | asdict(report), separators=(",", ":"))
    stream.write(text.encode("ascii") + b"\n")
