from __future__ import annotations

from dataclasses import replace

from spyglass.words.calls import call_text, location_text, place_text
from tests.snapshots import frame


def test_a_call_is_written_as_go_prints_it() -> None:
    assert call_text(frame("main.(*T).Run")) == "main.(*T).Run"
    assert call_text(frame("runtime.gopanic")) == "panic"
    assert call_text(frame("main.\x1b[2J")) == r"main.\x1b[2J"


def test_an_unknown_line_is_0_in_a_traceback_and_a_question_mark_elsewhere() -> None:
    known = frame("main.f", "/src/a.go", 7)
    assert (place_text(known), location_text(known)) == ("/src/a.go:7", "/src/a.go:7")
    unknown = replace(known, line=None)
    assert (place_text(unknown), location_text(unknown)) == ("/src/a.go:0", "/src/a.go:?")
    nowhere = replace(known, file=None, line=None)
    assert (place_text(nowhere), location_text(nowhere)) == ("?:0", "?")
