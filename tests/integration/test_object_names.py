"""What objects that goroutines wait on are called, against what the program says of itself."""

from __future__ import annotations

import json

import pytest

import spyglass
from spyglass.runtime.waiting.options import WaitOptions
from tests.support import MATRIX, Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.PIE, Flavour.STRIPPED])
@pytest.mark.parametrize("minor", MATRIX)
def test_objects_are_called_as_in_the_program(minor: str, flavour: Flavour) -> None:
    with start("names", minor, flavour) as process, spyglass.attach(process.pid) as inspector:
        truth = json.loads(process.read_line(10))
        graph = inspector.snapshot(waits=WaitOptions(heap=False)).waits
    assert graph is not None
    said = {
        int(address): graph.names[name] if name >= 0 else ""
        for address, name in zip(graph.objects.address, graph.objects.name, strict=True)
    }
    for each in truth:
        name = each["Name"]
        if flavour is Flavour.STRIPPED and "(" not in name:
            name = ""  # a variable's, which only the symbol table has
        assert said[int(each["Address"], 16)] == name, each
