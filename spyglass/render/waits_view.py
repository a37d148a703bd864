"""``spyglass waits``: what goroutines wait on, who holds it, and who is stuck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from spyglass.analysis.wait_groups import WaitGroup, selects, wait_groups
from spyglass.columns import among
from spyglass.render.cropping import cropped
from spyglass.render.findings import finding_lines
from spyglass.render.process_sections import saved_lines
from spyglass.render.sections import fact, section
from spyglass.render.view_options import View
from spyglass.render.wait_lines import WaitLines
from spyglass.wait_graph import KINDS, UNKNOWN, UNRESOLVED
from spyglass.words.units import count, duration, plural, size

if TYPE_CHECKING:
    from spyglass.analysis.wait_view import WaitView

__all__ = ["render_chains", "render_objects", "render_waits"]

#: Groups and chains that are shown unless the user says otherwise.
_SHOWN = 12
#: Kinds of which one line says enough: they end by themselves, or are the runtime's.
_BRIEF = {"timer": "sleeping", "runtime": "runtime"}


def render_waits(shown: WaitView, view: View) -> Iterator[Text]:
    """The lines of `shown`: findings, what was looked at, and the waits of those chosen in groups, the largest
    first."""
    groups = wait_groups(shown, shown.chosen)
    yield from saved_lines(shown.snapshot, view.width)
    if not shown.is_part:
        yield from finding_lines(shown.findings, view.width)
    yield from _facts(shown, view.width)
    for kind, label in _BRIEF.items():
        yield from _brief_lines(shown, [g for g in groups if KINDS[g.kind] == kind], label, view)
    together = selects(each for each in groups if KINDS[each.kind] not in _BRIEF)
    lines, number = WaitLines(shown, view), _number(view, len(together))
    for some in together[:number]:
        yield Text()
        yield from lines.groups(some)
    yield from _left_out(len(together) - number, "group", view)


def render_objects(shown: WaitView, objects: Sequence[int], view: View) -> Iterator[Text]:
    """Each of `objects` (rows): its state, who holds it, who refers to it, and who waits for it."""
    lines = WaitLines(shown, view, detailed=True)
    for number, row in enumerate(objects):
        if number:
            yield Text()
        yield from lines.object(row)


def render_chains(shown: WaitView, view: View) -> Iterator[Text]:
    """For each goroutine chosen, the way to what it hangs on in the end."""
    lines, number = WaitLines(shown, view, detailed=True), _number(view, len(shown.chosen))
    for index, goroutine in enumerate(shown.chosen[:number].tolist()):
        if index:
            yield Text()
        yield from lines.chain(goroutine)
    yield from _left_out(len(shown.chosen) - number, "goroutine", view)


def _number(view: View, number: int) -> int:
    return number if view.everything else min(number, view.limit or _SHOWN)


def _left_out(number: int, what: str, view: View) -> Iterator[Text]:
    if number > 0:
        words = f"… and {plural(number, f'more {what}')}; --all shows them"
        yield Text()
        yield Text(words if view.width is None else cropped(words, view.width), "dim")


def _facts(shown: WaitView, width: int | None) -> Iterator[Text]:
    """How many wait, how many are stuck, and what this is known from."""
    known = shown.known
    rows = known.rows_of(shown.chosen)
    stuck = known.stuck[rows]
    facts = [Text(plural(int(known.waits[rows].sum()), "goroutine"), "bold")]
    number, unknown = int((stuck == 1).sum()), int((stuck == -1).sum())
    if number or not unknown:
        facts.append(fact("stuck", count(number), "bold red" if number else ""))
    if unknown:
        facts.append(fact("not known whether stuck", count(unknown)))
    facts += _unresolved(shown)
    yield from section("waiting", facts, width)
    yield from section("looked at", [_looked_at(shown)], width)


def _unresolved(shown: WaitView) -> Iterator[Text]:
    unresolved = shown.graph.unresolved
    why = unresolved.why[among(unresolved.goroutine, shown.chosen)]
    numbers = np.bincount(why, minlength=len(UNRESOLVED)).tolist()
    words = (
        f"{count(numbers[0])} moved while they were read",
        f"{count(numbers[1])} not understood",
    )
    yield from (Text(each, "yellow") for each, number in zip(words, numbers, strict=True) if number)


def _looked_at(shown: WaitView) -> Text:
    looked = shown.graph.looked_at
    if not looked.marks:
        return Text("what goroutines wait on; not the heap, which tells who is stuck", "dim")
    what = [
        name
        for name, is_done in (("stacks", looked.stacks), ("globals", looked.globals))
        if is_done
    ]
    part = "" if looked.heap_complete else " of it, no more: --heap-limit"
    heap = f"{size(looked.heap_bytes)} of heap{part}"
    return Text(f"{', '.join([*what, heap])}; {plural(looked.marks, 'mark')}", "dim")


def _brief_lines(
    shown: WaitView, groups: Sequence[WaitGroup], label: str, view: View
) -> Iterator[Text]:
    """A line for goroutines that wait for timers, or for the runtime."""
    if not groups:
        return
    goroutines = np.concatenate([each.goroutines for each in groups])
    due_ns = shown.graph.objects.due_in_ns[np.concatenate([each.objects for each in groups])]
    due_ns = due_ns[due_ns != UNKNOWN]
    facts = [Text(plural(len(goroutines), "goroutine"))]
    if len(due_ns):
        first, last = (duration(max(int(each), 0)) for each in (due_ns.min(), due_ns.max()))
        facts.append(Text(f"due in {first}" if first == last else f"due in {first} to {last}"))
    yield from section(label, facts, view.width)
