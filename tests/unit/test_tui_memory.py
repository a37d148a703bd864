"""The page of memory over time in top."""

from __future__ import annotations

from dataclasses import replace

from spyglass.model import Snapshot
from spyglass.tui.feed import Tick
from spyglass.tui.layout import Style
from spyglass.tui.pages import page
from spyglass.tui.view_state import Model
from tests.snapshots import Row, make_snapshot

MIB = 1 << 20


def snapshot(
    heap: int | None, idle: int | None = 0, rss: int | None = 0, limit: int | None = None
) -> Snapshot:
    made = make_snapshot([Row(1)])
    memory = replace(
        made.memory, heap_in_use_bytes=heap, heap_idle_bytes=idle, heap_released_bytes=0,
        stacks_in_use_bytes=0, memory_limit_bytes=None,
    )  # fmt: skip
    process = replace(made.process, rss_bytes=rss, memory_limit_bytes=limit)
    return replace(made, memory=memory, process=process)


def lines_of(*snapshots: Snapshot, style: Style | None = None) -> list[str]:
    model = Model()
    for each in snapshots:
        model.note(Tick(each))
    model.toggle("memory")
    shown = page(model, style or Style(60))
    return [shown.line(number).plain for number in range(len(shown))]


def columns(lines: list[str]) -> list[str]:
    """The columns of the chart, each from the bottom up."""
    rows = [line[12:] for line in lines[:12]]
    width = max(map(len, rows))
    return ["".join(row.ljust(width)[at] for row in reversed(rows)) for at in range(width)]


def test_memory_is_stacked_over_time() -> None:
    lines = lines_of(snapshot(12 * MIB), snapshot(6 * MIB, 6 * MIB), snapshot(3 * MIB, 0, 9 * MIB))
    assert columns(lines) == ["█" * 12, "█" * 6 + "▒" * 6, "███     ━   "]
    assert lines[0].startswith("  12.0 MiB │")
    assert "█ heap in use 3.0 MiB" in lines
    assert "━ resident memory 9.0 MiB" in lines
    assert "no limit is known" in lines


def test_a_limit_that_is_near_is_drawn() -> None:
    near = lines_of(snapshot(6 * MIB, limit=12 * MIB))
    assert columns(near) == ["██████     ┄"]
    assert "┄ limit (control group) 12.0 MiB" in near
    far = lines_of(snapshot(6 * MIB, limit=600 * MIB))
    assert columns(far) == ["█" * 12]
    assert "┄ limit (control group) 600.0 MiB" in far


def test_what_is_not_known_is_left_out_and_old_values_leave_on_the_left() -> None:
    assert "█ heap in use ?" in lines_of(snapshot(None, None, None))
    many = [snapshot(MIB * each) for each in range(1, 80)]
    assert len(columns(lines_of(*many, style=Style(60)))) == 48
    plain = lines_of(*many[:3], style=Style(60, ascii_only=True))
    assert all(line.isascii() for line in plain)
