"""A part of a snapshot keeps what its goroutines wait on, up to where that ends."""

from __future__ import annotations

import numpy as np

from spyglass.analysis.subset import subset
from spyglass.wait_graph import WaitGraph
from tests.snapshots import Row, make_snapshot
from tests.wait_things import Held, Thing, make_graph

GRAPH = make_graph(
    [
        Thing("channel", [(5, "receive"), (7, "receive")], name="unrelated"),
        Thing("mutex", [(8, "lock"), (7, "lock")], [Held(77)], name="mu"),
        Thing("fd", [(77, "read")], name="db"),
        Thing("mutex", [(5, "lock")], [Held(6)], name="other"),
        Thing("rwmutex", [(88, "lock")], [Held(77, "read"), Held(6, "read")], name="rw"),
    ],
    stuck=(5, 7),
    alive=(77,),
    unresolved=[(6, "not understood")],
)


def named(graph: WaitGraph) -> dict[str, list[int]]:
    """The waiters of each object, by its name."""
    names = [graph.names[i] for i in graph.objects.name.tolist()]
    found: dict[str, list[int]] = {name: [] for name in names}
    for goroutine, thing in zip(
        graph.waits.goroutine.tolist(), graph.waits.object.tolist(), strict=True
    ):
        found[names[thing]].append(goroutine)
    return found


def part(*ids: int) -> WaitGraph:
    rows = [Row(id) for id in (5, 6, 7, 8, 77, 88)]
    chosen = np.array([at for at, row in enumerate(rows) if row.id in ids], np.int64)
    graph = subset(make_snapshot(rows, waits=GRAPH), chosen).waits
    assert graph is not None
    return graph


def test_the_chain_from_a_goroutine_is_kept_to_its_end() -> None:
    graph = part(8)
    assert named(graph) == {"mu": [8], "db": [77], "rw": []}
    holders = zip(graph.holders.object.tolist(), graph.holders.goroutine.tolist(), strict=True)
    assert sorted(holders) == [(0, 77), (2, 6), (2, 77)]
    assert graph.stuck.goroutine.tolist() == [77]
    assert not len(graph.unresolved)


def test_of_several_objects_all_are_kept() -> None:
    graph = part(7, 6)
    assert named(graph) == {"unrelated": [7], "mu": [7], "db": [77], "other": [], "rw": []}
    assert graph.unresolved.goroutine.tolist() == [6]


def test_a_circle_ends() -> None:
    graph = make_graph(
        [Thing("mutex", [(1, "lock")], [Held(2)]), Thing("mutex", [(2, "lock")], [Held(1)])]
    )
    found = subset(make_snapshot([Row(1), Row(2)], waits=graph), np.array([0])).waits
    assert found is not None
    assert found.waits.goroutine.tolist() == [1, 2]


def test_no_goroutine_waits_on_nothing() -> None:
    graph = part()
    assert (len(graph.objects), len(graph.waits), len(graph.holders)) == (0, 0, 0)
