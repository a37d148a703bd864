"""The account of a process's memory as JSON: ``spyglass.memory/1``, see ``memory.schema.json``."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, BinaryIO

from spyglass.export.account_records import account_record
from spyglass.export.json_text import compact
from spyglass.export.plain_values import plain, record
from spyglass.heap_objects import HeapSpans, HeapTypes, Retention
from spyglass.memory_limits import MemoryForecast, MemoryLimits
from spyglass.version import __version__

if TYPE_CHECKING:
    from spyglass.analysis.memory_view import MemoryView
    from spyglass.heap_profile import HeapProfile
    from spyglass.memory_account import MemoryAccount

__all__ = ["SCHEMA", "write_memory"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.memory/1"


def write_memory(view: MemoryView, stream: BinaryIO) -> None:
    """Write `view` as a document on one line of ASCII, which does no harm to a terminal."""
    stream.write(compact(_document(view)).encode("ascii") + b"\n")


def _document(view: MemoryView) -> dict[str, Any]:
    snapshot, account = view.snapshot, view.account
    of_limits = account.limits.problems if account.limits is not None else ()
    of_objects = view.objects.problems if view.objects is not None else ()
    problems = dict.fromkeys((*account.problems, *of_limits, *of_objects, *snapshot.problems))
    return {
        "schema": SCHEMA,
        "spyglass": __version__,
        "spyglass_version": __version__,
        "process": record(account.process),
        "source": record(snapshot.source),
        "host": plain(snapshot.host),
        **account_record(account),
        "go": _go(account),
        **_limits(account),
        "profile": None if view.profile is None else _profile(view.profile),
        "spans": _spans(view.objects) if isinstance(view.objects, HeapSpans) else None,
        "types": _types(view.objects) if isinstance(view.objects, HeapTypes) else None,
        "retained": _retained(view.objects) if isinstance(view.objects, Retention) else None,
        "findings": [record(each) for each in view.findings],
        "problems": [record(each) for each in problems],
    }


def _limits(account: MemoryAccount) -> dict[str, Any]:
    limits, forecast = account.limits, account.forecast
    known = limits if limits is not None else MemoryLimits()
    return {
        "limits": [{**record(row), "headroom_bytes": row.headroom_bytes} for row in known.rows],
        "pressure": [record(each) for each in known.pressure],
        "open_files": None if known.files is None else [record(each) for each in known.files],
        "swap_free_bytes": known.swap_free_bytes,
        "oom_score_adj": known.oom_score_adj,
        "forecast": record(forecast) if isinstance(forecast, MemoryForecast) else None,
        "no_forecast_because": forecast if isinstance(forecast, str) else None,
    }


def _go(account: MemoryAccount) -> dict[str, Any]:
    made: dict[str, Any] = account_record(account)["go"]
    gc = account.go.gc
    made["gc"]["allocated_bytes_per_second"] = gc.allocation_rate
    return made | {"gc_cpu_fraction": gc.cpu_fraction}


def _profile(profile: HeapProfile) -> dict[str, Any]:
    in_use, allocated = profile.in_use(), profile.allocated()
    return {
        "enabled": profile.rate_bytes > 0,
        "rate_bytes": profile.rate_bytes,
        "as_of": profile.as_of,
        "inuse_bytes": int(in_use[1].sum()),
        "inuse_objects": int(in_use[0].sum()),
        "alloc_bytes": int(allocated[1].sum()),
        "alloc_objects": int(allocated[0].sum()),
        "why_not": profile.why_not,
    }


def _spans(spans: HeapSpans) -> dict[str, Any]:
    classes = spans.classes
    columns = {each.name: getattr(classes, each.name).tolist() for each in fields(classes)}
    columns["unused_bytes"] = classes.unused_bytes.tolist()
    rows = zip(*columns.values(), strict=True)
    return {"classes": [dict(zip(columns, row, strict=True)) for row in rows]}


def _types(types: HeapTypes) -> dict[str, Any]:
    return {
        "covered_bytes": types.covered_bytes,
        "total_bytes": types.total_bytes,
        "examined_bytes": types.examined_bytes,
        "why_not": plain(types.why_not),
        "rows": [record(row) for row in types.rows],
    }


def _retained(retention: Retention) -> dict[str, Any]:
    document = record(retention)
    for name in ("process", "taken_at", "problems"):
        del document[name]
    document["chains"] = [
        {
            **record(chain),
            "root": record(chain.root),
            "links": [record(link) for link in chain.links],
        }
        for chain in retention.chains
    ]
    return document
