"""Memory that holds garbage while it is read what goroutines wait on: an answer, and soon."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import spyglass
from spyglass.memory.base import Gathered, Memory
from spyglass.runtime.waiting import graph
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.runtime.waiting.population import Population
from spyglass.wait_graph import WaitGraph
from tests.support import in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

MAX_SECONDS = 20
SEEDS = 6


class Liar(Memory):
    """`memory` with some bytes changed, a part `rate` of them, differently in each read."""

    def __init__(self, memory: Memory, seed: int, rate: float) -> None:
        self._memory = memory
        self._random = np.random.default_rng(seed)
        self._rate = rate

    def read(self, address: int, size: int) -> bytes:
        raw = np.frombuffer(self._memory.read(address, size), np.uint8).copy()
        return self._changed(raw).tobytes()

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        gathered = self._memory.gather(addresses, sizes)
        return replace(gathered, buffer=self._changed(gathered.buffer.copy()))

    def _changed(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        count = int(self._random.poisson(len(raw) * self._rate))
        if count:
            where = self._random.integers(len(raw), size=count)
            raw[where] = self._random.integers(256, size=count, dtype=np.uint8)
        return raw


@in_milestones
@pytest.mark.parametrize("rate", [0.002, 0.05, pytest.param(0.9, marks=pytest.mark.slow)])
def test_waits_of_lying_memory_are_read(
    minor: str, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = graph.read_waits
    graphs: list[WaitGraph] = []

    def of_liars(population: Population, *arguments: Any) -> WaitGraph:
        for seed in range(SEEDS):
            memory = Liar(population.runtime.memory, seed, rate)
            runtime = replace(population.runtime, memory=memory)
            graphs.append(read(population._replace(runtime=runtime), *arguments))
        return read(population, *arguments)

    monkeypatch.setattr(graph, "read_waits", of_liars)
    with start("locks", minor) as process, spyglass.attach(process.pid) as inspector:
        process.read_line(10)
        began = time.monotonic()
        waits = inspector.snapshot(waits=WaitOptions(heap=False)).waits
    assert time.monotonic() - began < MAX_SECONDS
    assert waits is not None
    assert len(graphs) == SEEDS
    for each in (*graphs, waits):
        assert (each.holders.object < len(each.objects)).all()
        assert (each.holders.frame < len(each.frames)).all()
        assert (each.objects.name < len(each.names)).all()
