"""The section of a report about waits: a table, and graphs of the worst knots."""

from __future__ import annotations

import re
from dataclasses import replace

from spyglass.analysis.redaction import redacted
from spyglass.analysis.wait_knots import knots
from spyglass.model import Snapshot
from spyglass.report.knot_svg import knot_svg
from spyglass.report.page_waits import waits_section
from spyglass.wait_graph import Connection
from tests.pages import page_of
from tests.snapshots import Row, frame, make_snapshot
from tests.unit.test_report_page_data import HOSTILE
from tests.unit.test_waits_document import ROWS, taken, viewed
from tests.wait_things import Held, Thing, make_graph


def section(snapshot: Snapshot) -> str:
    found = waits_section(snapshot)
    assert found is not None
    return found


def texts(html: str) -> list[str]:
    """The lines of boxes and the labels of arrows, in their order."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", html)


def rows(html: str) -> list[list[list[str]]]:
    """The words in the cells of the table, without what only narrow screens show."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", body):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        wide = [cell.partition('<div class="narrow-only">')[0] for cell in cells]
        found.append([re.sub(r"<[^>]*>", " ", cell).split() for cell in wide])
    return found


def test_without_waits_there_is_no_section() -> None:
    assert waits_section(make_snapshot(ROWS)) is None
    assert not page_of(make_snapshot(ROWS)).all("section", id="waits")
    assert page_of(taken()).all("section", id="waits")
    assert [link.text for link in page_of(taken()).all("a", href="#waits")] == ["Waits"]


def test_it_says_how_many_wait_and_what_was_read() -> None:
    html = section(taken())
    assert (
        "7 goroutines wait; nothing can wake 3 of them; 1.0 MiB of heap were read for this." in html
    )
    html = section(taken(waits=make_graph([Thing("mutex", [(7, "lock")])])))
    assert "the heap was not read, which tells what nothing can wake." in html


def test_the_largest_is_first_in_the_table() -> None:
    found = rows(section(taken()))
    assert found[0][0] == ["2"]
    assert found[0][1][:2] == ["mutex", "main.(*pool).mu"]
    assert found[0][2] == ["goroutine", "77"]
    assert found[0][3] == ["main.(*pool).get", "e.g.", "7"]
    assert len(found) == 5
    assert 'href="#goroutines" data-goroutine="77"' in section(taken())


def test_a_deadlock_and_a_convoy_are_drawn() -> None:
    html = section(taken())
    assert html.count("<svg") == html.count("<figure") == 2
    assert "<figcaption>Deadlock of 2 goroutines</figcaption>" in html
    assert "<figcaption>2 goroutines wait for one lock</figcaption>" in html
    convoy = texts(html.split("<figure")[2])
    boxes = [
        "2 goroutines", "main.(*pool).get", "mutex", "main.(*pool).mu", "sync.Mutex, locked", "goroutine 77",
        "main.(*pool).refresh", "read", "10.0.3.7:5432", "5 B not acknowledged by the peer",
    ]  # fmt: skip
    assert [text for text in convoy if text in boxes and text != "read"] == [
        b for b in boxes if b != "read"
    ]
    assert "lock" in convoy
    assert "held: deferred unlock pending" in convoy


def test_a_deadlock_is_a_circle_that_is_marked() -> None:
    circle = section(taken()).split("<figure")[1]
    assert circle.count("is-stuck") == 2
    assert circle.count('class="tip"') == 4  # as many arrows as boxes
    assert "main.a" in circle
    assert "main.b" in circle


def test_what_a_holder_waits_for_is_in_the_knot_of_its_lock() -> None:
    chain = [
        Thing("mutex", [(i, "lock"), (i + 100, "lock")], [Held(i + 1)], f"main.mu{i}")
        for i in range(1, 5)
    ]
    view = viewed(make_snapshot([Row(i) for i in range(1, 6)], waits=make_graph(chain)))
    (knot,) = knots(view)
    names = [node.lines[1] for node in knot.drawing.nodes.values() if node.kind == "object"]
    assert names == ["main.mu1", "main.mu2", "main.mu3", "main.mu4"]


def test_few_knots_are_drawn_of_many() -> None:
    things = [
        Thing("mutex", [(i, "lock"), (i + 1000, "lock")], [Held(i + 2000)]) for i in range(1, 200)
    ]
    assert len(knots(viewed(taken(waits=make_graph(things))))) == 3


def test_a_lock_with_many_readers_and_places_has_a_bounded_graph() -> None:
    waiters = [(i, "lock") for i in range(1, 500)]
    readers = [Held(i, "read") for i in range(1000, 1500)]
    graph = make_graph([Thing("rwmutex", waiters, readers, "main.rw")])
    made = [Row(i, where=frame(f"main.f{i}")) for i in range(1, 500)]
    (knot,) = knots(viewed(make_snapshot(made, waits=graph)))
    assert len(knot.drawing.nodes) < 15
    html = knot_svg(knot.drawing, "x")
    boxes = re.findall(r'<g class="(\w+)"', html)
    assert boxes[:6] == ["goroutine"] * 4 + ["goroutines", "object"]  # who waits is above
    assert "494 more holders" in html
    assert "in 495 more places" in html


def test_boxes_are_one_below_the_other_and_inside_of_the_picture() -> None:
    for figure in section(taken()).split("<figure")[1:]:
        height = int(re.findall(r'<svg[^>]* height="(\d+)"', figure)[0])
        tops = [int(y) for y in re.findall(r'<rect[^>]* y="(\d+)"', figure)]
        heights = [int(h) for h in re.findall(r'<rect[^>]* height="(\d+)"', figure)]
        ends = [top + each for top, each in zip(tops, heights, strict=True)]
        assert all(end < top for end, top in zip(ends, tops[1:], strict=False))
        assert ends[-1] <= height


def test_long_names_keep_their_ends() -> None:
    name = "example.com/a/very/long/path/to/" + "x" * 60 + ".(*Pool).mu"
    graph = make_graph([Thing("mutex", [(7, "lock"), (101, "lock")], [Held(77)], name)])
    html = section(taken(waits=graph))
    shown = next(text for text in texts(html) if text.endswith(".(*Pool).mu"))
    assert shown.startswith("…")
    assert len(shown) < 42
    assert name in html  # in full where the pointer is over it


def named(name: str) -> Snapshot:
    """A snapshot all of whose names are `name`."""
    place = frame(name)
    things = [
        Thing("mutex", [(7, "lock"), (101, "lock")], [Held(77, frame=place)], name, name),
        Thing("fd", [(77, "read")], connection=Connection(name, name, name, name)),
        Thing("channel", [(9, "receive")], type=name),
    ]
    made = [replace(row, where=place, wait_reason=row.wait_reason and name) for row in ROWS]
    return make_snapshot(made, waits=make_graph(things))


def test_what_the_target_calls_things_changes_no_element() -> None:
    calm, hostile = page_of(named("main.calm")), page_of(named(HOSTILE))
    assert len(calm.all("svg", **{"class": "knot"})) == 1
    assert [found.name for found in hostile.elements] == [found.name for found in calm.elements]
    for found in hostile.elements:
        assert "style" not in found.attributes
        assert not any(name.startswith("on") for name in found.attributes)


def test_redacted_it_has_no_addresses() -> None:
    assert "10.0.3.7" in section(taken())
    assert "10.0.3.7" not in section(redacted(taken()))
