from __future__ import annotations

import pytest

from spyglass.runtime.code import printed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("main.main", "main.main"),
        ("main.F[go.shape.int]", "main.F[...]"),
        ("main.F[go.shape.map[string][]int].func1", "main.F[...].func1"),
        ("main.(*T[go.shape.[2]int]).Get", "main.(*T[...]).Get"),
        ("main.(*S).Map[go.shape.map[string]int]", "main.(*S).Map[...]"),
        ("main.(*T[go.shape.[2]int]).Map[go.shape.[]string]", "main.(*T[...]).Map[...]"),
        ("main.(*T[...]).Get", "main.(*T[...]).Get"),
        ("main.F[go.shape.int", "main.F[go.shape.int"),
        ("main.F]x[", "main.F]x["),
    ],
)
def test_generic_functions_are_named_without_their_types(name: str, expected: str) -> None:
    assert printed(name) == expected
