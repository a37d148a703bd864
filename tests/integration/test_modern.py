"""Stacks of what Go has only had since 1.23, and of panics and faults: as the program prints them."""

from __future__ import annotations

import pytest

import spyglass
from tests.agreement import disagreements
from tests.support import ALL_MINORS, MATRIX, Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

_MODERN = [minor for minor in MATRIX if minor in ALL_MINORS[ALL_MINORS.index("1.23") :]]


@pytest.mark.parametrize("minor", _MODERN)
@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED])
def test_generic_functions_coroutines_and_panics(minor: str, flavour: Flavour) -> None:
    with start("modern", minor, flavour) as process:
        truth = process.truth()
        with spyglass.attach(process.pid) as inspector:
            snapshot = inspector.snapshot()
    assert disagreements(snapshot, truth.goroutines, moving=[1]) == []
    functions = {frame.function for frame in snapshot.frames}
    assert {"main.generic[...]", "main.(*pair[...]).wait", "runtime.sigpanic"} <= functions
