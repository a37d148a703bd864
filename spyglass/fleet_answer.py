"""The answer to a question about the snapshots of many processes, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FleetAnswer"]


@dataclass(frozen=True, slots=True)
class FleetAnswer:
    """The rows of a query, each a value for each of `columns`.

    `question`: its name, None for a query of the user's own. `parameters`: the values that its query was given. `more`:
    there are further rows. Columns that end in ``_ns`` and ``_bytes`` are in these units, ``_at`` are moments.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool = False
    question: str | None = None
    parameters: Mapping[str, int | str] = field(default_factory=dict)
