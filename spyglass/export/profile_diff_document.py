"""What changed between two profiles, as JSON: ``spyglass.profile-diff/1``, see ``profile-diff.schema.json``."""

from __future__ import annotations

from typing import Any, BinaryIO

from spyglass.analysis.profile_diff import FunctionChange, ProfileDifference, TimeChange
from spyglass.export.json_text import compact
from spyglass.export.plain_values import plain
from spyglass.export.profile_document import header
from spyglass.profile import Profile
from spyglass.version import __version__

__all__ = ["SCHEMA", "write_profile_difference"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.profile-diff/1"

#: What is said of each profile, as its own document says it.
_OF_PROFILE = (
    "mode",
    "host",
    "process",
    "started_at",
    "duration_ns",
    "rate_hz",
    "account",
    "chosen_from",
)


def write_profile_difference(found: ProfileDifference, stream: BinaryIO) -> None:
    """Write `found` as a document on one line of ASCII, which does no harm to a terminal."""
    stream.write(compact(_document(found)).encode("ascii") + b"\n")


def _document(found: ProfileDifference) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "before": _profile(found.before),
        "after": _profile(found.after),
        "whole": _change(found.whole),
        "functions": [_function(each) for each in found.functions],
    }


def _profile(profile: Profile) -> dict[str, Any]:
    whole = header(profile)
    return {name: whole[name] for name in _OF_PROFILE}


def _function(change: FunctionChange) -> dict[str, Any]:
    return {
        "function": plain(change.function),
        "self": _change(change.itself),
        "total": _change(change.total),
    }


def _change(change: TimeChange) -> dict[str, Any]:
    return {
        "before": change.before,
        "after": change.after,
        "difference": change.change,
        "deviation": change.deviation,
        "sure": change.is_sure,
    }
