"""A program that takes locks thousands of times a second: nobody is named who does not hold the lock, and nobody
is said to be stuck."""

from __future__ import annotations

import json
import os
from collections import Counter

import numpy as np
import pytest

import spyglass
from spyglass.inspector import Inspector
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.wait_graph import WaitGraph
from tests.agreement import never
from tests.support import MATRIX, Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

#: How often it is read; more by hand: SPYGLASS_READS=1000.
READS = int(os.environ.get("SPYGLASS_READS", "60"))


class Locks:
    """The locks of the program, and who it says holds each."""

    def __init__(self, program: Inspector, truth: dict[str, int]) -> None:
        self._memory = program.runtime.memory
        begin, number, stride = truth["locks"], truth["number"], truth["stride"]
        self.addresses = [begin + i * stride for i in range(number)]

    def holders(self) -> dict[int, int]:
        """The goroutine that holds each lock, by the address of the lock, and how often it was taken, in the upper half of
        the word: the same word again is the same hold. 0: none."""
        places = np.array(self.addresses, np.uint64) + np.uint64(8)
        words = self._memory.gather(places, 8).words(1)[:, 0].tolist()
        return dict(zip(self.addresses, words, strict=True))


def judge(graph: WaitGraph, before: dict[int, int], after: dict[int, int]) -> Counter[str]:
    """How often a holder was named rightly or wrongly, of locks that one goroutine held all the time."""
    found: Counter[str] = Counter()
    for each in graph:
        hold = before.get(each.address, 0)
        if each.kind != "mutex" or not hold or hold != after[each.address]:
            continue
        holder = hold & 0xFFFFFFFF
        named = [one.goroutine for one in each.holders if one.grade <= 3]
        found["held"] += 1
        found["right"] += named == [holder]
        found["wrong"] += bool(named) and named != [holder]
    return found


@pytest.mark.parametrize("minor", MATRIX)
def test_no_false_holder_deadlock_or_leak(minor: str) -> None:
    counts: Counter[str] = Counter()
    with (
        start("contention", minor, Flavour.STRIPPED) as process,
        spyglass.attach(process.pid) as program,
    ):
        locks = Locks(program, json.loads(process.ready_line.partition(" ")[2]))
        for number in range(READS):
            before = locks.holders()
            snapshot = program.snapshot(waits=WaitOptions(heap=number % 10 == 0))
            after = locks.holders()
            assert snapshot.waits is not None
            counts += judge(snapshot.waits, before, after)
            known = spyglass.verdicts(snapshot)
            assert known is not None
            never(known.deadlocks)
            never(known.ids[known.stuck == 1].tolist())
            never((snapshot.waits.objects.left_locked == 1).any())
            counts["waits"] += len(snapshot.waits.waits)
    print(dict(counts))
    never(counts["wrong"])
    assert counts["waits"] > READS  # else this says nothing
