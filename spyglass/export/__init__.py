"""Snapshots as documents for other programs."""

from __future__ import annotations

from spyglass.export.snapshot_document import SCHEMA, document
from spyglass.export.snapshot_writer import write_json

__all__ = ["SCHEMA", "document", "write_json"]
