"""What goroutines wait on in a report, written as HTML and SVG: it needs no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spyglass.analysis.selection import selected
from spyglass.analysis.wait_groups import WaitGroup, places, wait_groups
from spyglass.analysis.wait_knots import knots
from spyglass.analysis.wait_verdicts import STRONG, verdicts
from spyglass.analysis.wait_view import WaitView, wait_view
from spyglass.analysis.wait_words import address_of, kind_word, object_title, state_facts
from spyglass.escape import visible
from spyglass.model import Snapshot
from spyglass.report.knot_svg import knot_svg
from spyglass.report.markup import Markup, element, joined
from spyglass.wait_graph import KINDS
from spyglass.words.calls import call_text
from spyglass.words.units import UNKNOWN, count, plural, size

__all__ = ["waits_link", "waits_section"]

#: Rows of the table, and places and holders in one.
_ROWS, _PLACES, _HOLDERS = 30, 3, 3
#: Kinds that the table counts in its last line: they end by themselves, or are the runtime's.
_BRIEF = ("timer", "runtime")


def waits_link(snapshot: Snapshot) -> Markup | None:
    """The entry in the list of sections; None if it is not known what goroutines wait on."""
    if snapshot.waits is None:
        return None
    return element("li", element("a", "Waits", href="#waits"))


def waits_section(snapshot: Snapshot) -> Markup | None:
    """The section about waits; None if it is not known what goroutines wait on."""
    known = verdicts(snapshot)
    if known is None:
        return None
    chosen = snapshot.goroutines.id[selected(snapshot.goroutines)]
    view = wait_view(known, chosen, is_part=True)
    groups = wait_groups(view, view.chosen)
    drawn = [
        element("figure", element("figcaption", each.title), knot_svg(each.drawing, each.title), class_="card", tabindex="0")
        for each in knots(view)
    ]  # fmt: skip
    return element(
        "section",
        element("h2", "Waits", id="waits-title"),
        element("p", _summary(view), class_="muted"),
        element("div", *drawn, class_="knots") if drawn else None,
        element("div", element("div", _table(view, groups), class_="scroll"), *_rest(groups), class_="card"),
        id="waits", aria_labelledby="waits-title",
    )  # fmt: skip


def _summary(view: WaitView) -> str:
    known, looked = view.known, view.graph.looked_at
    rows = known.rows_of(view.chosen)
    number, stuck = int(known.waits[rows].sum()), int((known.stuck[rows] == 1).sum())
    parts = [f"{plural(number, 'goroutine')} wait"]
    if not looked.marks:
        parts.append("the heap was not read, which tells what nothing can wake")
    else:
        parts.append(f"nothing can wake {count(stuck)} of them")
        part = "" if looked.heap_complete else ", not all of it,"
        parts.append(f"{size(looked.heap_bytes)} of heap{part} were read for this")
    return "; ".join(parts) + "."


def _table(view: WaitView, groups: Sequence[WaitGroup]) -> Markup:
    titles = ("Goroutines", "Wait for", "Held by", "At")
    head = element(
        "tr",
        *(element("th", title, scope="col") for title in titles[:2]),
        *(element("th", title, scope="col", class_="wide-only") for title in titles[2:]),
    )
    main = [each for each in groups if KINDS[each.kind] not in _BRIEF]
    rows = [_row(view, each) for each in main[:_ROWS]]
    caption = element("caption", "What goroutines wait for, most first")
    return element(
        "table", caption, element("thead", head), element("tbody", *rows), class_="waits"
    )


def _row(view: WaitView, group: WaitGroup) -> Markup:
    holders, found = joined(*_holders(view, group)), joined(*_places(view, group))
    held = element("div", "held by ", holders, class_="narrow-only") if holders else None
    at = element("div", found, class_="narrow-only")
    return element(
        "tr",
        element("td", count(len(group.goroutines)), class_="number"),
        element("td", *_object(view, group), held, at),
        element("td", holders, class_="wide-only"),
        element("td", found, class_="wide-only"),
    )


def _object(view: WaitView, group: WaitGroup) -> Iterator[Markup]:
    graph, row = view.graph, int(group.objects[0])
    word = kind_word(graph, row, group.operation)
    title = visible(object_title(graph, row)) or address_of(graph, row) or UNKNOWN
    yield element("span", f"{word} ", element("code", title), class_="breakable")
    if len(group.objects) > 1:
        facts = [f"{count(len(group.objects))} of them"]
    else:
        facts = [*filter(None, [address_of(graph, row)]), *map(visible, state_facts(graph, row))]
    if facts:
        yield element("div", " · ".join(facts), class_="call")


def _holders(view: WaitView, group: WaitGroup) -> Iterator[Markup]:
    if len(group.objects) > 1:
        return
    rows = view.known.holders_of(int(group.objects[0]), STRONG).tolist()
    for row in rows[:_HOLDERS]:
        yield element("div", "goroutine ", _link(int(view.graph.holders.goroutine[row])))
    if len(rows) > _HOLDERS:
        yield element("div", f"and {count(len(rows) - _HOLDERS)} more", class_="muted")


def _places(view: WaitView, group: WaitGroup) -> Iterator[Markup]:
    found = list(places(view, group.goroutines))
    for some in found[:_PLACES]:
        frame = view.where(int(some[0]))
        name = call_text(frame) if frame else UNKNOWN
        example = ["id " if len(some) == 1 else "e.g. ", _link(int(some[0]))]
        often = f"{count(len(some))} in " if len(found) > 1 else ""
        yield element("div", often, element("span", name, class_="function"), " ", *example)
    if len(found) > _PLACES:
        yield element("div", f"and {plural(len(found) - _PLACES, 'more place')}", class_="muted")


def _link(goroutine: int) -> Markup:
    """A link that the page's script turns into a filter."""
    return element("a", str(goroutine), href="#goroutines", data_goroutine=str(goroutine))


def _rest(groups: Sequence[WaitGroup]) -> Iterator[Markup]:
    """How many rows the table left out, and who waits for timers and the runtime."""
    main = [each for each in groups if KINDS[each.kind] not in _BRIEF]
    words = []
    if len(main) > _ROWS:
        words.append(f"{plural(len(main) - _ROWS, 'more group')}: spyglass waits FILE --all")
    for kind in _BRIEF:
        some = [each.goroutines for each in groups if KINDS[each.kind] == kind]
        if some:
            noun = "a timer" if kind == "timer" else "the runtime"
            words.append(f"{plural(len(np.concatenate(some)), 'goroutine')} wait for {noun}")
    if words:
        yield element("p", "; ".join(words), class_="foot")
