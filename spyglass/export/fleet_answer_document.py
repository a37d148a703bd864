"""An answer of ``spyglass fleet`` as JSON: ``spyglass.fleet-answer/1``, see ``fleet-answer.schema.json``."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any, BinaryIO

from spyglass.fleet_answer import FleetAnswer
from spyglass.version import __version__

__all__ = ["SCHEMA", "write_fleet_answer"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.fleet-answer/1"


def write_fleet_answer(answer: FleetAnswer, stream: BinaryIO) -> None:
    """Write `answer` as a document on one line of ASCII, which is safe on a terminal."""
    document = {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "question": answer.question,
        "parameters": dict(answer.parameters),
        "columns": list(answer.columns),
        "rows": [[_finite(value) for value in row] for row in answer.rows],
        "more": answer.more,
    }
    text = json.dumps(document, separators=(",", ":"), default=_plain, allow_nan=False)
    stream.write(text.encode("ascii") + b"\n")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC)
        return moment.isoformat().replace("+00:00", "Z")
    return str(value)
