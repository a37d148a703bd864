"""What changed between two heap, block or mutex profiles, as JSON: ``spyglass.site-diff/1``, see
``site-diff.schema.json``."""

from __future__ import annotations

from typing import Any, BinaryIO

from spyglass.analysis.site_diff import Amounts, SiteDifference
from spyglass.export.json_text import compact
from spyglass.export.plain_values import plain
from spyglass.export.site_document import header
from spyglass.site_profile import SiteProfile
from spyglass.version import __version__

__all__ = ["SCHEMA", "write_difference"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.site-diff/1"

#: What is said of each profile, as its own document says it.
_OF_PROFILE = ("kind", "process", "taken_at", "remark", "period")


def write_difference(found: SiteDifference, stream: BinaryIO) -> None:
    """Write `found` as a document on one line of ASCII, which does no harm to a terminal."""
    stream.write(compact(_document(found)).encode("ascii") + b"\n")


def _document(found: SiteDifference) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "before": _profile(found.before),
        "after": _profile(found.after),
        "kinds": [{"name": plain(name), "unit": plain(unit)} for name, unit in found.kinds],
        "whole": _amounts(found.whole),
        "sites": [
            {"function": plain(each.function), "call": plain(each.call), **_amounts(each.amounts)}
            for each in found.sites
        ],
    }


def _profile(profile: SiteProfile) -> dict[str, Any]:
    whole = header(profile)
    return {name: whole[name] for name in _OF_PROFILE}


def _amounts(amounts: Amounts) -> dict[str, Any]:
    return {
        "before": list(amounts.before),
        "after": list(amounts.after),
        "difference": [amounts.change(at) for at in range(len(amounts.after))],
        "deviation": amounts.deviation,
        "sure": amounts.is_sure,
    }
