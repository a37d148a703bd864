"""Stacks that spyglass shows of servers, and what these say of themselves at /debug/pprof/goroutine?debug=2.

A server does not stand still between our look and its answer. What can be compared all the same:

* a goroutine that has waited for a minute or more, as both answers say, one before our look and one after it: its state and its
  whole stack;
* each goroutine that is in both answers: which statement created it, and the function that it began with.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection

import spyglass
from spyglass.model import Goroutine
from tests.agreement import disagreements
from tests.traceback_text import TextGoroutine, goroutines_of_text

__all__ = ["compare"]

_MINUTE_S = 60.0


def compare(pid: int, port: int, tally: Counter[str]) -> list[str]:
    """Compare a look at process `pid` with what it says at `port`; what is wrong. Counts in `tally` what was compared."""
    with spyglass.attach(pid) as program:
        began = time.monotonic()
        before = _said(port)
        ours = {each.id: each for each in program.snapshot()}
        after = _said(port)
        took_s = time.monotonic() - began
    both = before.keys() & after.keys()
    waiting = {
        goid for goid in both
        if took_s < _MINUTE_S and before[goid].wait_minutes and after[goid].wait_minutes
    }  # fmt: skip
    tally["looks"] += 1
    tally["goroutines compared by what created them and began"] += len(both)
    tally["goroutines compared by their whole stacks"] += len(waiting)
    wrong = [line for goid in sorted(both) if (line := _wrong_origin(ours.get(goid), after[goid]))]
    seen = [ours[goid] for goid in waiting if goid in ours]
    return wrong + disagreements(seen, [after[goid] for goid in waiting])


def _said(port: int) -> dict[int, TextGoroutine]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/debug/pprof/goroutine?debug=2")
        text = connection.getresponse().read().decode()
    return {goroutine.id: goroutine for goroutine in goroutines_of_text(text)}


def _wrong_origin(ours: Goroutine | None, said: TextGoroutine) -> str | None:
    """What is wrong with where a goroutine comes from; None if nothing is."""
    if ours is None:
        return f"goroutine {said.id} is missing: {said}"
    created = ours.created_by and ours.created_by.function
    its = said.created_by and said.created_by.function
    if created != its:
        return f"goroutine {said.id}: created by {created}, where the program says {its}"
    frames = [frame.function for frame in ours.stack or () if not frame.hidden]
    if ours.quality in ("stable", "moved") and frames[-1:] != said.functions[-1:]:
        return f"goroutine {said.id}: began with {frames[-1:]}, where the program says {said.functions[-1:]}"
    return None
