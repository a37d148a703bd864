"""Lines about what goroutines wait on: a group, an object, a chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from spyglass.analysis.wait_groups import WaitGroup, places
from spyglass.analysis.wait_verdicts import VERDICTS
from spyglass.analysis.wait_words import (
    address_of,
    evidence,
    kind_word,
    object_title,
    state_facts,
    wait_phrase,
)
from spyglass.escape import visible
from spyglass.model import NONE, Frame
from spyglass.render.cropping import function_in, location_in
from spyglass.render.view_options import View
from spyglass.wait_graph import KINDS, MODES, OPERATIONS
from spyglass.words.calls import call_text, location_text
from spyglass.words.units import UNKNOWN, count, duration, plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_verdicts import Verdict
    from spyglass.analysis.wait_view import WaitView

__all__ = ["WaitLines"]

_INDENT = 7
#: How many holders, places and ids are shown of a group, and of an object that was asked for.
_SHOWN, _SHOWN_DETAILED = 3, 50
#: Verdicts that a group's line is followed by, with their colours; the others say what is normal.
_TOLD = {
    "deadlock": "bold red", "never": "bold red", "left_locked": "bold red", "stuck_behind": "red",
}  # fmt: skip
#: A name is not made shorter than this for what follows it.
_MIN_TITLE = 28
#: Steps of a chain that are shown; a longer one has its middle left out.
_STEPS_SHOWN = 20


class WaitLines:
    """Makes the lines of one view. `detailed`: all that is known, for objects that the user named."""

    def __init__(self, shown: WaitView, view: View, *, detailed: bool = False) -> None:
        self._shown = shown
        self._width = view.width
        self._most = _SHOWN_DETAILED if detailed else _SHOWN
        if view.everything:
            self._most = len(shown.known.ids)

    def groups(self, groups: Sequence[WaitGroup]) -> Iterator[Text]:
        """Waits of the same goroutines (several: cases of a ``select``): what they are on, who holds it, and
        where they wait."""
        for number, group in enumerate(groups):
            yield self._group_title(group, is_first=not number)
            if len(group.objects) == 1:
                yield from self._holders(int(group.objects[0]))
        holders = [
            goroutine
            for group in groups
            if len(group.objects) == 1
            for goroutine in self._shown.index.holders(int(group.objects[0]))
        ]
        yield from self._verdict(groups[0].goroutines, holders)
        yield from self._places(groups[0].goroutines)

    def _group_title(self, group: WaitGroup, *, is_first: bool) -> Text:
        graph, row = self._shown.graph, int(group.objects[0])
        facts = list(state_facts(graph, row)) if len(group.objects) == 1 else []
        if len(group.objects) > 1:
            noun = {"fd": "connection", "nothing": "place"}.get(
                KINDS[group.kind], KINDS[group.kind]
            )
            facts.append(plural(len(group.objects), noun))
        if is_first:
            facts += self._oldest(group.goroutines)
        number = len(group.goroutines) if is_first else None
        word = kind_word(graph, row, group.operation)
        return self._title(number, word, row, facts, with_address=len(group.objects) == 1)

    def _oldest(self, goroutines: NDArray[np.uint64]) -> Iterator[str]:
        """How long the one waits at least that waits longest, if it is known."""
        rows = self._shown.rows(goroutines)
        waits_ns = self._shown.snapshot.goroutines.waiting_ns[rows[rows != NONE]]
        longest_ns = int(waits_ns.max(initial=NONE))
        if longest_ns != NONE:
            yield f"oldest ≥{duration(longest_ns)}"

    def object(self, row: int) -> Iterator[Text]:
        """An object that the user named: its state, who holds it, and who waits for it."""
        shown, graph = self._shown, self._shown.graph
        waits = np.array(shown.index.waits_on.of(row), np.int64)
        operation = int(graph.waits.operation[waits[0]]) if len(waits) else 0
        word = kind_word(graph, row, operation)
        yield self._title(len(waits), word, row, list(state_facts(graph, row)))
        yield from self._holders(row)
        for number in np.flatnonzero(np.bincount(graph.waits.operation[waits])).tolist():
            of_these = graph.waits.goroutine[waits[graph.waits.operation[waits] == number]]
            yield self._line(
                Text(f"{OPERATIONS[number]}: {plural(len(of_these), 'goroutine')}", "bold")
            )
            yield from self._verdict(of_these, self._shown.index.holders(row))
            yield from self._places(of_these)

    def chain(self, goroutine: int) -> Iterator[Text]:
        """The steps from `goroutine` (goid) to what it hangs on in the end."""
        known = self._shown.known
        links = known.chain(goroutine)
        for number, link in enumerate(links):
            if number == _STEPS_SHOWN - 1 and len(links) > _STEPS_SHOWN:
                yield self._line(Text(f"… {count(len(links) - _STEPS_SHOWN)} more steps …", "dim"))
            if _STEPS_SHOWN - 1 <= number < len(links) - 1:
                continue
            yield self._goroutine(
                link.goroutine, number, links[number - 1].grade if number else None
            )
            yield from self._waits_of(link.goroutine, "which " if number else "")
        last = links[-1].holder
        if last is not None:
            yield self._line(Text(f"and that is goroutine {last} again", "bold red"))
        verdict = known.of(goroutine)
        if verdict is not None and known.waits[known.row(goroutine) or 0]:
            yield from self._sentence(_verdict_text(verdict, "in the end "))

    def _title(
        self,
        number: int | None,
        word: str,
        row: int,
        facts: list[str],
        *,
        with_address: bool = True,
    ) -> Text:
        """How many wait (None: as before, for this too), for what, and its state."""
        graph = self._shown.graph
        title = visible(object_title(graph, row))
        address = address_of(graph, row) if with_address else ""
        facts = [*filter(None, [address if title else ""]), *facts]
        title = title or address or UNKNOWN
        tail = "".join(f"  {visible(each)}" for each in facts)
        if self._width is not None:
            room = self._width - _INDENT - 10 - cell_len(tail)
            title = function_in(title, max(room, _MIN_TITLE))
        who = f"{count(number):>5}  " if number is not None else f"{'or':>5}  "
        line = Text.assemble(who, (f"{word:<9}", "cyan"), " ", (title, "bold"))
        return self._cut(line.append(tail))

    def _holders(self, row: int) -> Iterator[Text]:
        """Who holds an object, the best evidence first, and what each waits for itself."""
        holders = self._shown.graph.holders
        rows = sorted(self._shown.index.holders_of.of(row), key=lambda each: holders.grade[each])
        for each in rows[: self._most]:
            yield from self._holder(each)
        if len(rows) > self._most:
            yield self._line(Text(f"… {plural(len(rows) - self._most, 'more holder')}", "dim"))

    def _holder(self, row: int) -> Iterator[Text]:
        holders = self._shown.graph.holders
        goroutine, grade = int(holders.goroutine[row]), int(holders.grade[row])
        number = int(holders.frame[row])
        frame = self._shown.graph.frames[number] if number != NONE else self._shown.where(goroutine)
        verb = "held by" if grade <= 3 else "perhaps held by" if grade == 4 else "referred to by"
        how = f" ({evidence(MODES[holders.mode[row]], grade)})"
        yield self._placed(f"{verb} goroutine {goroutine}: ", frame, how)
        yield from self._waits_of(goroutine)

    def _waits_of(self, goroutine: int, which: str = "which ") -> Iterator[Text]:
        """What a goroutine waits for itself, and for how long."""
        graph, waits = self._shown.graph, self._shown.graph.waits
        rows = self._shown.index.waits_of.of(goroutine)
        if not rows:
            yield self._line(Text(f"{which}{self._does(goroutine)}"), deeper=True)
        waited_ns = self._shown.waited_ns(goroutine)
        since = "" if waited_ns is None else f", for at least {duration(waited_ns)}"
        for each in rows[: self._most]:
            phrase = wait_phrase(graph, int(waits.object[each]), int(waits.operation[each]))
            start = f"{which}waits for" if each == rows[0] else "or for"
            yield self._line(Text(visible(f"{start} {phrase}{since}")), deeper=True)
            since = ""
        if len(rows) > self._most:
            yield self._line(
                Text(f"or for {count(len(rows) - self._most)} more", "dim"), deeper=True
            )

    def _does(self, goroutine: int) -> str:
        """What a goroutine does of which no wait is known."""
        row = self._shown.row(goroutine)
        if row is None:
            return "is not in this snapshot"
        found = self._shown.snapshot.goroutine(row)
        if found.wait_reason is not None:
            return f"waits ({visible(found.wait_reason)}); for what is not known"
        return f"does not wait: {visible(found.status)}"

    def _goroutine(self, goroutine: int, number: int, grade: int | None) -> Text:
        what = f"goroutine {goroutine}: "
        if not number:
            return self._placed(what, self._shown.where(goroutine), "", indent=0)
        how = f" ({evidence('write', grade)})" if grade is not None else ""
        return self._placed(f"held by {what}", self._shown.where(goroutine), how)

    def _verdict(
        self, goroutines: NDArray[np.uint64], holders: Sequence[int] = ()
    ) -> Iterator[Text]:
        """What becomes of most of `goroutines`, if that is not what one expects, the worst first; not that they
        wait behind one of `holders`."""
        known = self._shown.known
        rows = known.rows_of(goroutines)
        for name in _TOLD:
            some = goroutines[known.verdict[rows] == VERDICTS.index(name)]
            verdict = known.of(int(some[0])) if len(some) else None
            if name == "stuck_behind" and verdict is not None and verdict.behind in holders:
                continue  # what the holder waits for was just said
            if verdict is not None:
                part = "" if len(some) == len(goroutines) else f"{count(len(some))} of them "
                example = f"(goroutine {some[0]}) " if len(some) > 1 else ""
                yield from self._sentence(_verdict_text(verdict, part, example))

    def _places(self, goroutines: NDArray[np.uint64]) -> Iterator[Text]:
        """Where `goroutines` wait, most first."""
        found = list(places(self._shown, goroutines))
        for some in found[: self._most]:
            ids = ", ".join(map(str, some[: self._most].tolist()))
            more = ", …" if len(some) > self._most else ""
            tail = f"  {'id' if len(some) == 1 else 'ids'} {ids}{more}"
            yield self._placed(f"{count(len(some)):>5}  ", self._shown.where(int(some[0])), tail)
        if len(found) > self._most:
            others = plural(sum(map(len, found[self._most :])), "goroutine")
            words = f"… {others} in {plural(len(found) - self._most, 'more place')}"
            yield self._line(Text(words, "dim"))

    def _placed(self, what: str, frame: Frame | None, tail: str, indent: int = _INDENT) -> Text:
        """A line with a place in the code, both of whose names are shortened so as to keep their ends."""
        if frame is None:
            return self._cut(Text.assemble(" " * indent, what, UNKNOWN, (tail, "dim")))
        function, place = call_text(frame), location_text(frame)
        place = location_in(place, 40)
        if self._width is not None:
            room = max(self._width - indent - len(what) - len(tail) - 1, 20)
            place = location_in(place, max(room // 2, 10))
            function = function_in(function, max(room - cell_len(place), 10))
        return self._cut(
            Text.assemble(" " * indent, what, function, (f" {place}", "dim"), (tail, "dim"))
        )

    def _line(self, text: Text, *, deeper: bool = False) -> Text:
        return self._cut(Text.assemble(" " * (_INDENT + 4 * deeper), text))

    def _sentence(self, text: Text) -> Iterator[Text]:
        """`text` in as many lines as it takes."""
        room = None if self._width is None else max(self._width - _INDENT, 20)
        if room is None or text.cell_len <= room:
            yield self._line(text)
            return
        first, *others = wrap(text.plain, room, subsequent_indent="    ", break_on_hyphens=False)
        styled = Text(first, spans=[span for span in text.spans if span.end <= len(first)])
        yield from map(self._line, (styled, *map(Text, others)))

    def _cut(self, line: Text) -> Text:
        if self._width is not None:
            line.truncate(max(self._width, 1), overflow="ellipsis")
        return line


def _verdict_text(verdict: Verdict, before: str = "", example: str = "") -> Text:
    """The verdict and the reason: that of one of several goroutines, which `example` names."""
    word = verdict.verdict.replace("_", " ")
    style = _TOLD.get(verdict.verdict, "")
    return Text.assemble(before, (word, style), f": {example}{visible(verdict.because)}")
