"""Limits of memory as lines of text: what is left of each, open files in memory, pressure, and when one is met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.escape import visible
from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryLimits, MemoryPressure
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.memory_limits import forecast_text, limit_text
from spyglass.words.units import count, size

__all__ = ["limit_lines"]

_FILES = 5
#: Smaller files are shown if the user wants all.
_LEAST_FILE = 1 << 20


def limit_lines(
    limits: MemoryLimits, forecast: MemoryForecast | str | None, view: View
) -> Iterator[Text]:
    """The lines of `limits`; `forecast` may be a text that says why there is none."""
    yield from table(_columns(limits, limits.rows), view.width, styled=view.styled)
    yield Text()
    yield from _files(limits, view)
    for pressure in limits.pressure:
        if any(pressure.some_percent) or view.everything:
            yield from section("pressure", _pressure(pressure), view.width)
    if limits.swap_free_bytes:
        yield from section("swap", [fact("free", size(limits.swap_free_bytes))], view.width)
    if forecast is not None:
        yield from section("forecast", [_forecast(limits, forecast)], view.width)


def _forecast(limits: MemoryLimits, forecast: MemoryForecast | str) -> Text:
    if isinstance(forecast, str):
        return Text(f"none: {forecast}")
    return Text(visible(forecast_text(limits, forecast)), "bold")


def _columns(limits: MemoryLimits, rows: Sequence[MemoryLimit]) -> list[Column]:
    return [
        Column("left", [_known(row.headroom_bytes) for row in rows], right=True),
        Column("limit", [_known(row.bytes) for row in rows], right=True),
        Column("used", [size(row.used_bytes) for row in rows], right=True),
        Column("page cache", [_known(row.reclaimable_bytes) for row in rows], right=True),
        Column("working set", [_known(row.working_set_bytes) for row in rows], right=True),
        Column("of", [visible(_name(limits, row)) for row in rows], weight=3),
    ]


def _known(size_bytes: int | None) -> str:
    return "" if size_bytes is None else size(size_bytes)


def _name(limits: MemoryLimits, row: MemoryLimit) -> str:
    """What the limit is of, and what happened there before."""
    name = limit_text(limits, row)
    if row.bytes is None:
        name = name.replace("the memory limit of", "no limit of", 1)
    past = [f"met {count(row.hits)} times"] if row.hits else []
    past += [f"{count(row.oom_kills)} killed"] if row.oom_kills else []
    return f"{name}: {', '.join(past)}" if past else name


def _files(limits: MemoryLimits, view: View) -> Iterator[Text]:
    """Open files that are in memory."""
    files = [file for file in limits.files or () if file.cached_bytes]
    if not view.everything:
        files = [file for file in files if (file.cached_bytes or 0) >= _LEAST_FILE][:_FILES]
    facts = [
        fact(
            visible(file.path), f"{size(file.cached_bytes)}{' of tmpfs' if file.in_memory else ''}"
        )
        for file in files
    ]
    yield from section("open files", facts, view.width)


def _pressure(pressure: MemoryPressure) -> list[Text]:
    where = "its control group" if pressure.path is not None else "the host"
    spans = ("10 s", "1 min", "5 min")
    some = [
        f"{share:g} % of {span}" for share, span in zip(pressure.some_percent, spans, strict=True)
    ]
    return [Text(f"tasks of {where} waited for memory"), Text(", ".join(some), "bold")]
