"""Whatever a graph of waits looks like, every view of it is made, within bounds, and shows nothing that controls."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from spyglass.analysis.redaction import redacted
from spyglass.analysis.subset import subset
from spyglass.analysis.wait_verdicts import verdicts
from spyglass.analysis.wait_view import wait_view
from spyglass.export import document
from spyglass.export.snapshot_reader import snapshot_of
from spyglass.export.waits_document import write_waits
from spyglass.export.waits_dot import write_dot
from spyglass.model import Snapshot
from spyglass.render.view_options import View
from spyglass.render.waits_view import render_chains, render_objects, render_waits
from spyglass.report.page_waits import waits_section
from spyglass.tui.wait_texts import WaitTexts
from spyglass.wait_graph import EVIDENCE, KINDS, MODES, OPERATIONS, UNKNOWN, Connection
from tests.snapshots import Row, frame, make_snapshot
from tests.unit.test_report_page_data import HOSTILE
from tests.unit.test_waits_document import WAITS_SCHEMA
from tests.wait_things import Held, Thing, make_graph

VALIDATOR = Draft202012Validator(WAITS_SCHEMA)
_VALUES = (UNKNOWN, UNKNOWN + 1, -1, 0, 1, 2**63 - 1)
_NUMBERS = (
    "length", "capacity", "readers", "waiters_state", "counter", "deadline_in_ns", "due_in_ns",
)  # fmt: skip
_IDS = (1, 2, 3, 4, 5, 2**40, 2**63 - 1)


def snapshot_with_any_graph(seed: int) -> Snapshot:
    rng = np.random.default_rng(seed)

    def one_of(*values: object) -> object:
        return values[int(rng.integers(len(values)))]

    def thing() -> Thing:
        state = {name: one_of(*_VALUES) for name in _NUMBERS}
        state |= {name: one_of(-1, 0, 1) for name in ("closed", "locked", "left_locked")}
        state |= {"address": one_of(0, 1, 2**64 - 1), "fd": one_of(-1, 0, 2**31 - 1)}
        texts = [one_of(None, "", HOSTILE, "x" * 5000) for _ in range(6)]
        connection = Connection(str(texts[0]), *texts[1:4], *[one_of(None, 0, 2**63 - 1)] * 2)  # type: ignore[arg-type]
        return Thing(
            str(one_of(*KINDS)),
            [(one_of(*_IDS), str(one_of(*OPERATIONS))) for _ in range(rng.integers(5))],  # type: ignore[misc]
            [
                Held(one_of(*_IDS), str(one_of(*MODES)), int(rng.integers(1, len(EVIDENCE))), one_of(None, frame(HOSTILE)))  # type: ignore[arg-type]
                for _ in range(rng.integers(4))
            ],
            texts[4], texts[5], one_of(None, connection), state,  # type: ignore[arg-type]
        )  # fmt: skip

    graph = make_graph(
        [thing() for _ in range(rng.integers(12))],
        stuck=[1, 2], alive=[3], unresolved=[(4, "not understood"), (2**50, "moved while it was read")],
    )  # fmt: skip
    rows = [Row(i, wait_reason=HOSTILE, where=one_of(None, frame(HOSTILE))) for i in _IDS[:6]]  # type: ignore[arg-type]
    return make_snapshot(rows, waits=graph)


@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, *range(3, 12)))]
)
def test_every_view_is_made(seed: int) -> None:
    whole = snapshot_with_any_graph(seed)
    parts = [subset(whole, np.flatnonzero(whole.goroutines.id == i)) for i in (1, 5)]
    for snapshot in (whole, redacted(whole), *parts):
        known = verdicts(snapshot)
        assert known is not None
        for chosen in (None, known.ids, known.ids[:1]):
            view = wait_view(known, chosen)
            stream = io.BytesIO()
            write_waits(view, stream)
            if chosen is None:
                VALIDATOR.validate(json.loads(stream.getvalue()))
            write_dot(view, stream)
            lines = [
                line.plain
                for width in (None, 10, 80)
                for made in (
                    render_waits(view, View(width=width)),
                    render_chains(view, View(width=width, everything=True)),
                    render_objects(view, view.objects.tolist(), View(width=width)),
                )
                for line in made
            ]
            assert re.search("[\x00-\x1f\x7f-\x9f\u202e]", "".join(lines)) is None


@pytest.mark.parametrize("seed", range(12))
def test_it_is_read_as_it_was_written(seed: int) -> None:
    snapshot = snapshot_with_any_graph(seed)
    made = document(snapshot)
    again = document(snapshot_of(json.dumps(made).encode()))
    assert (again["waits"], again["wait_objects"]) == (made["waits"], made["wait_objects"])


@pytest.mark.parametrize("seed", range(12))
def test_the_live_view_and_the_report_are_made(seed: int) -> None:
    snapshot = snapshot_with_any_graph(seed)
    assert snapshot.waits is not None
    texts = WaitTexts(snapshot, snapshot.waits)
    rows = np.arange(len(snapshot.goroutines))
    assert isinstance(texts.of_rows(rows), str)
    assert len(texts.alike) == len(rows)
    for goroutine in _IDS:
        texts.of_goroutine(goroutine)
        texts.waits_of(goroutine)
        texts.holders_of(goroutine)
        texts.waiters_for(goroutine)
        texts.verdict(goroutine)
    html = waits_section(snapshot)
    assert html is not None
    assert "<script" not in html
