"""Names as ``funcNamePiecesForPrint`` prints them, before Go 1.27 and since."""

from __future__ import annotations

import pytest

from spyglass.runtime.stacks.function_names import hidden, printed, printed_with_methods


@pytest.mark.parametrize(
    ("name", "before", "since"),
    [
        ("main.f", "main.f", "main.f"),
        ("main.f[go.shape.int]", "main.f[...]", "main.f[...]"),
        ("main.(*t[go.shape.int]).m.func1", "main.(*t[...]).m.func1", "main.(*t[...]).m.func1"),
        ("main.f[struct { x [3]int }].g", "main.f[...].g", "main.f[...].g"),
        ("main.(*t[int]).m[string]", "main.(*t[...]", "main.(*t[...]).m[...]"),
        ("main.(*t[[2]int]).m[string].func2", "main.(*t[...].func2", "main.(*t[...]).m[...].func2"),
        ("main.f[map[string][]int].func1", "main.f[...].func1", "main.f[...].func1"),
        ("main.(*s).m[map[string]int]", "main.(*s).m[...]", "main.(*s).m[...]"),
        ("main.f[int", "main.f[int", "main.f[int"),
        ("main.f]x[", "main.f]x[", "main.f]x["),
    ],
)
def test_what_is_between_brackets_is_left_out(name: str, before: str, since: str) -> None:
    assert (printed(name), printed_with_methods(name)) == (before, since)


@pytest.mark.parametrize(
    ("name", "is_hidden"),
    [
        ("main.main", False),
        ("runtime.gopark", True),
        ("runtime.Gosched", False),
        ("runtime.(*Frames).Next", False),
        ("runtime.(*mcache).refill", True),
        ("runtime.gopanic", False),
        ("runtime.runFinalizers", False),
        ("runtime/pprof.Do", False),
        ("memmove", True),
    ],
)
def test_what_a_traceback_leaves_out(name: str, is_hidden: bool) -> None:
    assert hidden(name) is is_hidden
